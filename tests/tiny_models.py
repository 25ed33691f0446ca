"""A hand-made classifier of 8x8 pictures, as integers and as floats, and pictures for it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from intformer.ir.graph import Graph, TensorType
from intformer.ir.verify import Proof, verify
from intformer.reference import interpret

SIDE, CLASSES = 8, 4
FEATURES = SIDE * SIDE * 3
WEIGHT_SCALE = 0.01
LOGIT_SCALE = 2.0**-4


def weights() -> np.ndarray:
    """int8 [192, 4], reproducible."""
    return np.random.default_rng(7).integers(-127, 128, (FEATURES, CLASSES)).astype(np.int8)


def integer_classifier() -> Graph:
    """pixels uint8 [N, 8, 8, 3] -> logits int16 [N, 4]: one linear layer and a requantize."""
    graph = Graph("integer", limits={"N": 256})
    graph.inputs["pixels"] = graph.types["pixels"] = TensorType("uint8", ("N", SIDE, SIDE, 3))
    flat = graph.add_node(
        "reshape", ("pixels",), TensorType("uint8", ("N", FEATURES)), shape=(0, FEATURES)
    )
    weight = graph.add_constant("head.weight", weights())
    bias = graph.add_constant("head.bias", np.zeros(CLASSES, np.int32))
    accumulator = graph.add_node(
        "linear", (flat, weight, bias), TensorType("int32", ("N", CLASSES)), name="head", x_zero=0
    )
    multiplier = round(WEIGHT_SCALE / 255 / LOGIT_SCALE * 2**20)
    factor = graph.add_constant("head.multiplier", np.array([multiplier], np.int32))
    offset = graph.add_constant("head.offset", np.array([2**19], np.int64))
    logits = graph.add_node(
        "requantize",
        (accumulator, factor, offset),
        TensorType("int16", ("N", CLASSES)),
        name="head",
        shift=20,
        dtype="int16",
    )
    graph.outputs["logits"] = logits
    graph.metadata = {
        "scales": json.dumps({"logits": LOGIT_SCALE}),
        "classes": json.dumps(["ant", "bee", "cat", "dog"]),
    }
    return graph


def float_classifier() -> SimpleNamespace:
    """The same model as a float ``Source``: images [N, 3, 8, 8], mean 0, std 1."""
    graph = Graph("float", limits={"N": 256})
    graph.inputs["images"] = graph.types["images"] = TensorType("float32", ("N", 3, SIDE, SIDE))
    order = weights().astype(np.float32).reshape(SIDE, SIDE, 3, CLASSES).transpose(3, 2, 0, 1)
    weight = graph.add_constant("weight", order.reshape(CLASSES, FEATURES) * WEIGHT_SCALE)
    flat = graph.add_node(
        "reshape", ("images",), TensorType("float32", ("N", FEATURES)), shape=(0, FEATURES)
    )
    kind = TensorType("float32", ("N", CLASSES))
    graph.outputs["logits"] = graph.add_node("linear", (flat, weight), kind, name="head")
    preprocess = SimpleNamespace(
        size=SIDE, crop_pct=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="bicubic"
    )
    return SimpleNamespace(
        graph=graph, preprocess=preprocess, module=None, kind="zoo", name="zoo:tiny"
    )


@dataclass
class ReferenceProgram:
    """What evaluation needs of ``intformer.Program``, run by the reference interpreter."""

    graph: Graph
    calls: list[int] = field(default_factory=list)

    def run(self, inputs: Any) -> dict[str, np.ndarray]:
        self.calls.append(len(next(iter(inputs.values()))))
        return interpret(self.graph, inputs)

    def verify(self) -> Proof:
        return verify(self.graph)


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """A reproducible picture, ``size`` is (width, height): a gradient with noise."""
    random = np.random.default_rng(seed)
    across = np.linspace(0, 1, size[0])[None, :, None] * random.uniform(0, 200, 3)
    down = np.linspace(0, 1, size[1])[:, None, None] * random.uniform(0, 55, 3)
    return Image.fromarray((across + down + random.uniform(0, 1, 3)).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_parquet(
    path: Path,
    count: int = 12,
    *,
    labels: list[Any] | None = None,
    struct: bool = True,
    images: list[bytes | None] | None = None,
    column: str = "image",
    rows_per_group: int = 5,
) -> Path:
    """A Parquet file of pictures with class numbers."""
    images = images if images is not None else [encoded(picture(i)) for i in range(count)]
    values = [{"bytes": b, "path": None} for b in images] if struct else images
    columns: dict[str, Any] = {column: values}
    if labels is not None:
        columns["label"] = labels
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path
