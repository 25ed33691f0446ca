"""Accuracy of every recipe and bit width, without and with training, on the CIFAR-10 zoo models.

    python benchmarks/accuracy.py [--models vit_cifar10] [--recipes intformer i-vit] [--bits W4A8]
                                  [--kinds PTQ QAT] [--seeds 3] [--results FILE] [--scale 1.0]

Each cell is measured once through the integer runtime on all test images and kept in a JSON file
(benchmarks/accuracy.json); a cell that is there is not measured again, so the script can be stopped
and started at will. At the end it writes the tables of docs/accuracy.md. ``--scale`` multiplies the
length of every training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from intformer.evaluate.accuracy import accuracy
from intformer.evaluate.data_files import find_data
from intformer.evaluate.datasets import batches, open_images
from intformer.evaluate.framing import Framing
from intformer.program import load
from intformer.quantize.api import quantize
from intformer.quantize.qat import load_twin
from intformer.quantize.recipe import RECIPES, load_recipe

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("vit_cifar10", "deit_cifar10", "swin_cifar10")
FAITHFUL = ("intformer", "i-vit", "i-bert", "fq-vit")
BITS = {"W8A8": (8, 8), "W6A6": (6, 6), "W4A8": (4, 8), "W4A4": (4, 4)}
BEGIN, END = "<!-- written by benchmarks/accuracy.py -->", "<!-- end -->"

TRAINING: dict[str, dict[str, float]] = {
    "W8A8": {"epochs": 0.1, "lr": 5e-6, "learn": 0},
    "W6A6": {"epochs": 0.2, "lr": 3e-5, "learn": 1},
    "W4A8": {"epochs": 0.3, "lr": 5e-5, "learn": 1},
    "W4A4": {"epochs": 0.5, "lr": 1e-4, "learn": 1},
}
"""Length and rate of the training by width: short, since the float model teaches."""

Results = dict[str, dict[str, Any]]
"""Cell -> what was measured."""


def cell(model: str, recipe: str, bits: str, kind: str, seed: int = 0) -> str:
    return " ".join([model, recipe, bits, kind, *([f"seed{seed}"] if kind == "QAT" else [])])


def recipe_of(name: str, bits: str) -> dict[str, Any]:
    """Below 8 bits no activation is kept at 16 (as the recipe would), so that the name is true."""
    weights, activations = BITS[bits]
    recipe: dict[str, Any] = {
        "base": name,
        "weight_bits": weights,
        "activation_bits": activations,
    }
    return recipe | ({} if activations == 8 else {"promote_below_db": 0})


def data(name: str) -> str:
    found = find_data(f"cifar10/{name}.parquet")
    if found is None:
        sys.exit(f"cifar10/{name}.parquet is missing: set INTFORMER_DATA")
    return str(found)


def without_training(model: str, recipe: str, bits: str) -> dict[str, Any]:
    from intformer.cli.loading import calibration, load_source

    source = load_source(f"zoo:{model}", None, None)
    chosen = load_recipe(recipe_of(recipe, bits))
    program = quantize(source, calibration(source, data("train"), 256), chosen)
    return {"top1": accuracy(program, open_images(data("test"))).top1}


def float_model(model: str) -> dict[str, Any]:
    from intformer.cli.loading import load_source
    from intformer.train.evaluate import float_accuracy
    from intformer.train.student import FloatStudent

    source = load_source(f"zoo:{model}", None, None)
    return {"top1": float_accuracy(FloatStudent(source), open_images(data("test")), source)}


def with_training(model: str, recipe: str, bits: str, seed: int, scale: float) -> dict[str, Any]:
    how = TRAINING[bits]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.json"
        file.write_text(json.dumps(recipe_of(recipe, bits)))
        options = {
            "--data": data("train"),
            "--val": data("test"),
            "--recipe": file,
            "--epochs": how["epochs"] * scale,
            "--lr": how["lr"],
            "--batch-size": 32,
            "--seed": seed,
            "--out": Path(folder) / "trained.onnx",
            "--save-every": 0,
        }
        words = [str(word) for pair in options.items() for word in pair]
        words += ["--learn-scales"] if how["learn"] else []
        command = [sys.executable, "-m", "intformer.cli.main", "train", f"zoo:{model}", *words]
        done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout)
        check_twin(Path(folder) / "trained.train" / "trained.safetensors", options["--out"])
    epochs = how["epochs"] * scale
    return {key: found[key] for key in ("top1", "steps", "seconds")} | {"epochs": epochs}


def check_twin(twin_file: Path, program_file: Any) -> None:
    """The simulated forward pass and the runtime give the same logits on every test image."""
    twin, program = load_twin(twin_file), load(program_file)
    scale = program.scales["logits"]["scale"]
    for batch in batches(open_images(data("test")), Framing.of_program(program.graph), size=250):
        outputs = program.run({"pixels": batch.pixels})
        with torch.no_grad():
            logits = twin(pixels=batch.pixels)["logits"].double() / scale
        assert (logits.round().numpy() == outputs["logits"]).all()
        assert (logits.argmax(-1).numpy() == outputs["label"]).all()


def measure(args: argparse.Namespace, results: Results) -> None:
    for model in args.models:
        if not (ROOT / "zoo" / model / "config.json").is_file():
            print(f"zoo:{model} is not there")
            continue
        keep(args, results, f"{model} float", lambda m=model: float_model(m))
        for kind in args.kinds:
            for recipe in (name for name in args.recipes if name in RECIPES):
                for bits in args.bits:
                    one(args, results, model, recipe, bits, kind)


def one(
    args: argparse.Namespace, results: Results, model: str, recipe: str, bits: str, kind: str
) -> None:
    if kind == "PTQ":
        name = cell(model, recipe, bits, kind)
        keep(args, results, name, lambda: without_training(model, recipe, bits))
        return
    for seed in range(args.seeds):
        name = cell(model, recipe, bits, kind, seed)
        keep(args, results, name, lambda s=seed: with_training(model, recipe, bits, s, args.scale))


def keep(args: argparse.Namespace, results: Results, name: str, work: Any) -> None:
    """Measure a cell unless it is known, and write all results."""
    if name in results:
        return
    print(name, flush=True)
    results[name] = work()
    print(name, results[name], flush=True)
    known = json.loads(args.results.read_text()) if args.results.is_file() else {}
    args.results.write_text(json.dumps({**known, name: results[name]}, indent=1) + "\n")


def table(model: str, results: Results) -> list[str]:
    lines = [f"| `zoo:{model}` | {' | '.join(BITS)} |", "|---|" + "---|" * len(BITS)]
    for recipe in (*FAITHFUL, "naive"):
        for kind in ("PTQ", "QAT"):
            texts = [text(model, recipe, bits, kind, results) for bits in BITS]
            if any(texts):
                lines.append(f"| {recipe}, {kind} | {' | '.join(t or '–' for t in texts)} |")
    return lines


def text(model: str, recipe: str, bits: str, kind: str, results: Results) -> str:
    if kind == "PTQ":
        found = results.get(cell(model, recipe, bits, kind))
        return f"{found['top1']:.2f}" if found else ""
    seeds = [results.get(cell(model, recipe, bits, kind, seed)) for seed in range(10)]
    scores = [found["top1"] for found in seeds if found]
    if len(scores) < 2:
        return f"{scores[0]:.2f}" if scores else ""
    return f"{mean(scores):.2f} ({min(scores):.2f} to {max(scores):.2f}, {len(scores)} seeds)"


def write_page(results: Results) -> None:
    page = ROOT / "docs" / "accuracy.md"
    parts = []
    for model in MODELS:
        known = results.get(f"{model} float")
        if known:
            parts += [f"Float: **{known['top1']:.2f} %**.", "", *table(model, results), ""]
    before, rest = page.read_text().split(BEGIN)
    page.write_text("\n".join([before + BEGIN, "", *parts, END + rest.split(END)[1]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--recipes", nargs="+", default=[*FAITHFUL, "naive"])
    parser.add_argument("--bits", nargs="+", choices=list(BITS), default=list(BITS))
    parser.add_argument("--kinds", nargs="*", choices=["PTQ", "QAT"], default=["PTQ", "QAT"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "accuracy.json")
    args = parser.parse_args()
    results = json.loads(args.results.read_text()) if args.results.is_file() else {}
    measure(args, results)
    write_page(json.loads(args.results.read_text()))


if __name__ == "__main__":
    main()
