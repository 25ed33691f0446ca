"""Accuracy of every recipe and bit width, without and with training, on the CIFAR-10 zoo models.

    python benchmarks/accuracy.py [--models vit_cifar10] [--recipes intformer i-vit] [--bits W4A8]
                                  [--kinds PTQ QAT] [--seeds 3] [--results FILE] [--scale 1.0]
                                  [--rate 1e-5] [--held-out]

Each cell is measured once through the integer runtime on all test images and kept in a JSON file
(benchmarks/accuracy.json); a cell that is there is not measured again, so the script can be stopped
and started at will. At the end it writes the tables of docs/accuracy.md, unless ``--results`` names
another file. ``--scale`` multiplies the length of every training, ``--rate`` replaces its rate.

A training sees the training images without those of the calibration and without the last 2,000,
which are held out: ``--held-out`` scores on them (give another ``--results``), to choose the rates
of ``TRAINING`` and ``LONGER``. After each training the twin's forward pass is compared with the
runtime on every image that is scored: logits and labels must be the same integers, or the script
stops.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from accelerate import Accelerator

from intformer.cli.loading import calibration, load_source
from intformer.evaluate.accuracy import accuracy
from intformer.evaluate.data_files import find_data
from intformer.evaluate.datasets import ImageData, Sample, batches, open_images, spread
from intformer.evaluate.framing import Framing
from intformer.frontend.sources import Source
from intformer.quantize.api import quantize
from intformer.quantize.qat import convert, load_twin, prepare, save_twin
from intformer.quantize.qat.twin import Twin
from intformer.quantize.recipe import RECIPES, load_recipe
from intformer.train.augment import Augmentation, Mixing
from intformer.train.data import Place, TrainingImages
from intformer.train.evaluate import float_accuracy
from intformer.train.options import Options
from intformer.train.student import FloatStudent, Teacher, class_count
from intformer.train.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "accuracy.json"
MODELS = ("vit_cifar10", "deit_cifar10", "swin_cifar10")
FAITHFUL = ("intformer", "i-vit", "i-bert", "fq-vit")
OTHERS = ("i-vit-published", "i-bert-published", "auto", "naive")
BITS = {"W8A8": (8, 8), "W6A6": (6, 6), "W4A8": (4, 8), "W4A4": (4, 4)}
BEGIN, END = "<!-- written by benchmarks/accuracy.py -->", "<!-- end -->"

CALIBRATION, HELD_OUT, BATCH = 256, 2000, 32

TRAINING: dict[str, dict[str, Any]] = {
    "W8A8": {"steps": 8, "lr": 5e-6, "learn": False},
    "W6A6": {"steps": 16, "lr": 3e-5, "learn": True},
    "W4A8": {"steps": 24, "lr": 5e-5, "learn": True},
    "W4A4": {"steps": 32, "lr": 1e-4, "learn": True},
}
"""Length and rate of the training by width: short, since the float model teaches."""

LONGER: dict[str, dict[str, Any]] = {
    "W8A8": {"steps": 64, "lr": 5e-5, "learn": False},
    "W6A6": {"steps": 64, "lr": 5e-5, "learn": True},
    "W4A8": {"steps": 64, "lr": 5e-5, "learn": True},
    "W4A4": {"steps": 300, "lr": 3e-4, "learn": True},
}
"""The same for models that were trained too short themselves, and go on learning."""

UNFINISHED = ("deit_cifar10", "swin_cifar10")
"""Models that take ``LONGER``."""

Results = dict[str, dict[str, Any]]
"""Cell -> what was measured."""


def cell(model: str, recipe: str, bits: str, kind: str, seed: int = 0) -> str:
    return " ".join([model, recipe, bits, kind, *([f"seed{seed}"] if kind == "QAT" else [])])


def recipe_of(name: str, bits: str) -> dict[str, Any]:
    weights, activations = BITS[bits]
    return {"base": name, "weight_bits": weights, "activation_bits": activations}


def data(name: str) -> str:
    found = find_data(f"cifar10/{name}.parquet")
    if found is None:
        sys.exit(f"cifar10/{name}.parquet is missing: set INTFORMER_DATA")
    return str(found)


@dataclass
class Rows:
    """Some rows of a data set, as a data set."""

    whole: ImageData
    rows: Sequence[int]
    labelled: bool = True
    classes: list[str] | None = None

    @property
    def name(self) -> str:
        return self.whole.name

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Sequence[int] | None = None) -> Iterator[Sample]:
        chosen = self.rows if rows is None else [self.rows[row] for row in rows]
        return self.whole.read(chosen)

    def random_access(self) -> Callable[[int], Sample]:
        read = self.whole.random_access()
        return lambda row: read(self.rows[row])


def parts() -> tuple[Rows, Rows]:
    """Training and held-out images; neither has an image of the calibration."""
    whole = open_images(data("train"))
    known = set(spread(len(whole), CALIBRATION))
    rest = [row for row in range(len(whole)) if row not in known]
    first = len(whole) - HELD_OUT
    return (
        Rows(whole, [row for row in rest if row < first]),
        Rows(whole, [row for row in rest if row >= first]),
    )


def scored(held_out: bool) -> ImageData:
    return parts()[1] if held_out else open_images(data("test"))


def calibration_of(source: Source) -> Any:
    return calibration(source, data("train"), CALIBRATION)


def without_training(model: str, recipe: str, bits: str, images: ImageData) -> dict[str, Any]:
    source = load_source(f"zoo:{model}", None, None)
    program = quantize(source, calibration_of(source), load_recipe(recipe_of(recipe, bits)))
    found = json.loads(program.graph.metadata.get("operators", "[]"))
    stand_ins = sum("asked" in entry for entry in found)
    top1 = {"top1": accuracy(program, images).top1}
    return top1 | ({"fallbacks": stand_ins, "operators": len(found)} if found else {})


def float_model(model: str, images: ImageData) -> dict[str, Any]:
    source = load_source(f"zoo:{model}", None, None)
    return {"top1": float_accuracy(FloatStudent(source), images, source)}


class Training:
    """Trainings of one model with one recipe, from one calibration."""

    def __init__(self, model: str, recipe: str, bits: str, args: argparse.Namespace) -> None:
        self.how = (LONGER if model in UNFINISHED else TRAINING)[bits]
        self.scale, self.rate = args.scale, args.rate or self.how["lr"]
        self.source = load_source(f"zoo:{model}", None, None)
        self.images, _ = parts()
        self._twin: Twin | None = None
        self._recipe = recipe_of(recipe, bits)

    def twin(self, folder: Path) -> Twin:
        """A fresh twin; calibrated once, then loaded."""
        file = folder / "twin.safetensors"
        if self._twin is None:
            learn = self.how["learn"]
            calibrated = calibration_of(self.source)
            self._twin = prepare(self.source, calibrated, self._recipe, learn_scales=learn)
        save_twin(self._twin, file)
        return load_twin(file)

    def run(self, seed: int, images: ImageData) -> dict[str, Any]:
        steps = max(round(self.how["steps"] * self.scale), 1)
        options = Options(
            epochs=steps / (len(self.images) // BATCH),
            batch_size=BATCH,
            learning_rate=self.rate,
            learn_scales=self.how["learn"],
            seed=seed,
        )
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            trained = self._train(options, Path(folder))
        top1 = top1_of_both(trained, images)
        spent = round(time.process_time() - start, 1)
        return {"top1": top1, "steps": steps, "cpu_seconds": spent, "compared": len(images)}

    def _train(self, options: Options, folder: Path) -> Twin:
        torch.manual_seed(options.seed)
        classes = class_count(self.source.graph)
        images = TrainingImages(
            self.images,
            Augmentation(Framing.of_source(self.source.preprocess), options),
            Mixing(options, classes),
            options,
            Place(),
        )
        accelerator = Accelerator(cpu=True)
        teacher = Teacher(self.source, accelerator.device)
        twin = self.twin(folder)
        Trainer(accelerator, twin, teacher, images, options, folder, save_every=0).run()
        return twin.eval()


@torch.no_grad()
def top1_of_both(twin: Twin, images: ImageData) -> float:
    """Top-1 in percent of the program, whose logits and labels are those of the forward pass."""
    program = convert(twin)
    scale = program.scales["logits"]["scale"]
    right = 0
    for batch in batches(images, Framing.of_program(program.graph), size=500):
        outputs = program.run({"pixels": batch.pixels})
        logits = twin(pixels=batch.pixels)["logits"].double() / scale
        assert (logits.round().numpy() == outputs["logits"]).all()
        assert (logits.argmax(-1).numpy() == outputs["logits"].argmax(-1)).all()
        right += int((outputs["logits"].argmax(-1) == batch.labels).sum())
    return round(100 * right / len(images), 4)


def measure(args: argparse.Namespace, results: Results) -> None:
    images = scored(args.held_out)
    for model in args.models:
        if not (ROOT / "zoo" / model / "config.json").is_file():
            print(f"zoo:{model} is not there")
            continue
        keep(args, results, f"{model} float", lambda m=model: float_model(m, images))
        for kind in args.kinds:
            for recipe in (name for name in args.recipes if name in RECIPES):
                for bits in args.bits:
                    one(args, results, (model, recipe, bits), kind, images)


def one(
    args: argparse.Namespace,
    results: Results,
    what: tuple[str, str, str],
    kind: str,
    images: ImageData,
) -> None:
    if kind == "PTQ":
        keep(args, results, cell(*what, kind), lambda: without_training(*what, images))
        return
    names = [cell(*what, kind, seed) for seed in range(args.seeds)]
    if all(name in results for name in names):
        return
    training = Training(*what, args)
    for seed, name in enumerate(names):
        keep(args, results, name, lambda s=seed: training.run(s, images))


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
    for recipe in (*FAITHFUL, *OTHERS):
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
    parser.add_argument("--recipes", nargs="+", default=[*FAITHFUL, *OTHERS])
    parser.add_argument("--bits", nargs="+", choices=list(BITS), default=list(BITS))
    parser.add_argument("--kinds", nargs="*", choices=["PTQ", "QAT"], default=["PTQ", "QAT"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rate", type=float, help="learning rate instead of the script's")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    results = json.loads(args.results.read_text()) if args.results.is_file() else {}
    measure(args, results)
    if args.results == RESULTS:
        write_page(json.loads(args.results.read_text()))


if __name__ == "__main__":
    main()
