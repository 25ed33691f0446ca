"""Takes the models of the I-ViT paper, whole and at their ImageNet shapes, through the whole way.

``python benchmarks/imagenet_models.py`` builds DeiT, ViT and Swin models of timm with random
weights at full depth, quantizes them (weights to the nearest, two images of noise: it is about
operators, not accuracy) with each recipe of ``--recipes``, proves the programs, compares the bytes
of the reference, the native runtime and ONNX Runtime and writes the table into ``docs/models.md``.
Results are kept in ``--results``; what is found there is not run again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model_families import PAGE, Options, Result, add_options, examine_once, read, write

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
    """What is known of each model with each recipe."""
    found: dict[tuple[str, str], Result] = {}
    for recipe in args.recipes:
        options = Options(args.images, False, 0, 0.0, recipe)
        for model, title in MODELS.items():
            if not args.only or title in args.only:
                examine_once(args.results / recipe, f"{title}, {recipe}", model, {}, options, args)
            found[model, recipe] = read(args.results / recipe, model)
    return found


def table(results: dict[tuple[str, str], Result]) -> str:
    """A line for each model, a verdict for each recipe."""
    recipes = list(dict.fromkeys(recipe for _, recipe in results))
    heads = " | ".join(f"`{recipe}`: proved, same bytes" for recipe in recipes)
    lines = [f"| model | timm | {heads} |", "|---" * (2 + len(recipes)) + "|"]
    for model, title in MODELS.items():
        verdicts = " | ".join(verdict(results[model, recipe]) for recipe in recipes)
        lines.append(f"| {title} | `{model}` | {verdicts} |")
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
    add_options(parser, timeout=1800)
    write(PAGE, MARKS, table(run_all(parser.parse_args())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
