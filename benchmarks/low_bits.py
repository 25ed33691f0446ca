"""What fewer bits cost and save on the zoo's vision transformer.

    python benchmarks/low_bits.py [--samples 256] [--images 5000] [RECIPE ...]

RECIPE is a name or JSON. Accuracy is of programs as the CPU kernels run them, on CIFAR-10's test
images (``INTFORMER_DATA``); the ratio is that of the logits of the float model to their error.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from intformer.cli.loading import calibration
from intformer.evaluate.data_files import find_data
from intformer.evaluate.datasets import batches, open_images
from intformer.evaluate.framing import Framing
from intformer.frontend.sources import Source, load_source
from intformer.quantize.api import quantize
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.samples import float_inputs

SOURCE = "zoo:vit_cifar10"
CHECKPOINT_BYTES = 11_961_800
RECIPES = (
    "intformer",
    "w6a6",
    "w4a8",
    '{"base": "w4a8", "scale_group": 64}',
    '{"base": "w4a8", "scale_group": 0}',
    "w4a4",
)


def images(source: Source, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pixels and labels of the test images, 100 at a time."""
    path = find_data("cifar10/test.parquet")
    if path is None:
        raise SystemExit("cifar10/test.parquet is in neither $INTFORMER_DATA nor ../shared/data")
    framing = Framing.of_source(source.preprocess)
    for batch in batches(open_images(path), framing, size=100, limit=limit):
        yield batch.pixels, batch.labels


def float_logits(source: Source, pixels: np.ndarray) -> np.ndarray:
    preprocess = source.preprocess
    normalisation = Pixels(tuple(preprocess.mean), tuple(preprocess.std))
    with torch.inference_mode():
        values = float_inputs(source.graph, {"pixels": pixels}, normalisation)
        found = FloatRunner(source.graph).run(dict(values))
    return found[source.graph.outputs["logits"]].numpy()


def file_bytes(program) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.onnx"
        program.save(path)
        return path.stat().st_size


def row(source: Source, recipe: str, samples: int, tests: list) -> str:
    """One line of the table."""
    chosen = json.loads(recipe) if recipe.startswith("{") else recipe
    data = find_data("cifar10/train.parquet")
    program = quantize(source, calibration(source, str(data), samples), chosen)
    scale = program.scales["logits"]["scale"]
    hits, signal, noise = 0, 0.0, 0.0
    for pixels, labels, wanted in tests:
        found = program.run({"pixels": pixels})
        hits += int((found["label"] == labels).sum())
        signal += float((wanted**2).sum())
        noise += float(((found["logits"] * scale - wanted) ** 2).sum())
    top1 = 100 * hits / sum(len(labels) for _, labels, _ in tests)
    decibels = 10 * np.log10(signal / noise)
    share = 100 * file_bytes(program) / CHECKPOINT_BYTES
    return f"| `{recipe}` | {top1:.2f} % | {decibels:.1f} dB | {share:.1f} % |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    source = load_source(SOURCE)
    tests = [(x, y, float_logits(source, x)) for x, y in images(source, options.images)]
    print("| recipe | top-1 | signal to noise of the logits | file, of the float checkpoint |")
    print("|---|---|---|---|")
    for recipe in options.recipes:
        print(row(source, recipe, options.samples, tests), flush=True)


if __name__ == "__main__":
    main()
