"""Takes the models of the I-ViT paper, whole and at their ImageNet shapes, through the whole way.

``python benchmarks/imagenet_models.py`` builds DeiT, ViT and Swin models of timm with random
weights at full depth, quantizes them (weights to the nearest, two images of noise: it is about
operators, not accuracy) with each recipe of ``--recipes``, proves the programs, compares the bytes
of the reference, the native runtime and ONNX Runtime, times those of the first recipe against
float32 engines (batch 1, one thread) and writes the table into ``docs/models.md``. Results are kept
in ``--results``; what is found there is not run again. ``--no-speed`` skips the timing, which takes
a quarter of an hour of a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from model_families import PAGE, Options, Result, alone, is_known, path, read, times, write

PROJECT = Path(__file__).resolve().parents[1]
MARKS = ("<!-- imagenet: begin -->", "<!-- imagenet: end -->")

MODELS = {
    "deit_tiny_patch16_224": "DeiT-T",
    "deit_small_patch16_224": "DeiT-S",
    "deit_base_patch16_224": "DeiT-B",
    "deit_tiny_distilled_patch16_224": "DeiT-T distilled",
    "deit_small_distilled_patch16_224": "DeiT-S distilled",
    "deit_base_distilled_patch16_224": "DeiT-B distilled",
    "vit_small_patch16_224": "ViT-S",
    "vit_base_patch16_224": "ViT-B",
    "vit_large_patch16_224": "ViT-L",
    "swin_tiny_patch4_window7_224": "Swin-T",
    "swin_small_patch4_window7_224": "Swin-S",
    "swin_base_patch4_window7_224": "Swin-B",
}
"""timm's names of what the paper quantizes."""


def run_all(args: argparse.Namespace) -> dict[tuple[str, str], Result]:
    """Examine what is not in the results yet, one process each."""
    found: dict[tuple[str, str], Result] = {}
    for recipe in args.recipes:
        folder = args.results / recipe
        folder.mkdir(parents=True, exist_ok=True)
        args.speed = args.speed and recipe == args.recipes[0]
        options = Options(args.images, args.speed, args.rounds, args.seconds, recipe)
        for model, title in MODELS.items():
            wanted = not args.only or title in args.only
            if wanted and not is_known(read(folder, model), args):
                start = time.monotonic()
                result = alone(model, {}, options, args.timeout)
                path(folder, model).write_text(json.dumps(result, indent=1) + "\n")
                print(f"{title}, {recipe}: {result} ({time.monotonic() - start:.0f} s)", flush=True)
            found[model, recipe] = read(folder, model)
    return found


def table(results: dict[tuple[str, str], Result]) -> str:
    """A line for each model: a verdict for each recipe, the time of the first if measured."""
    recipes = list(dict.fromkeys(recipe for _, recipe in results))
    timed = any("milliseconds" in result for result in results.values())
    heads = [f"`{recipe}`: proved, same bytes" for recipe in recipes]
    heads += ["ms", "fastest float32 peer"] if timed else []
    lines = [f"| {' | '.join(['model', 'timm', *heads])} |", "|---" * (2 + len(heads)) + "|"]
    for model, title in MODELS.items():
        verdicts = [verdict(results[model, recipe]) for recipe in recipes]
        first = results[model, recipes[0]]
        cells = [title, f"`{model}`", *verdicts, *(times(first) if timed and first else ())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(result: Result) -> str:
    """How far a model came."""
    if not result:
        return "–"
    return "yes" if result.get("verified") and result.get("identical") else str(result["reason"])


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=PROJECT / "out" / "imagenet")
    parser.add_argument("--only", nargs="*", help="titles of models to run, such as ViT-L")
    parser.add_argument("--recipes", nargs="+", default=["intformer", "i-vit"])
    parser.add_argument("--images", type=int, default=2, help="calibration images")
    parser.add_argument("--no-speed", dest="speed", action="store_false", help="do not time")
    parser.add_argument("--again", action="store_true", help="run failed models again")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each engine")
    parser.add_argument("--seconds", type=float, default=0.3, help="timed seconds of one turn")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for one model")
    write(PAGE, MARKS, table(run_all(parser.parse_args())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
