"""Encoders without a classifier: cosine of their tokens, correlation of a decoder's maps."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.errors import InputError
from intformer.evaluate.accuracy import Progress, framing_for
from intformer.evaluate.datasets import ImageData, batches
from intformer.evaluate.outputs import Runnable, dequantize

Array = NDArray[Any]
Decoder = Callable[[Array, Array], Array]
"""Normalised images [N, 3, H, W] and tokens -> maps."""


@dataclass(frozen=True)
class Features:
    """Mean and worst cosine between integer and float tokens; mean correlation of their maps."""

    images: int
    cosine: float
    cosine_min: float
    map_correlation: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def features(
    program: Runnable,
    source: Any,
    data: ImageData,
    *,
    decoder: Decoder | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Features:
    """Compare the tokens [N, T, C] (or vectors [N, C]) of a program with the float model's.

    Args:
        decoder: the part of the model after the tokens, see ``cut_decoder``; runs on both.
        limit: this many images, spread evenly over the data.

    Raises:
        InputError: an image is unreadable, or program and source differ in size.
    """
    from intformer.evaluate.floats import FloatModel

    model = FloatModel(source)
    cosines: list[float] = []
    correlations: list[float] = []
    total = min(len(data), limit or len(data))
    (name,) = program.graph.inputs
    output = next(iter(program.graph.outputs))
    images = 0
    for batch in batches(data, framing_for(program, source), size=batch_size, limit=limit):
        integers = program.run({name: batch.pixels})[output]
        ours = dequantize(program.graph, output, integers).astype(np.float32)
        theirs = next(iter(model.images(batch.pixels).values()))
        cosines.extend(_cosines(ours, theirs))
        if decoder is not None:
            pictures = model.normalised(batch.pixels).numpy()
            maps = (decoder(pictures, tokens) for tokens in (ours, theirs))
            correlations.extend(_correlations(*maps))
        images += len(ours)
        if progress is not None:
            progress(images, total)
    correlation = float(np.mean(correlations)) if correlations else None
    return Features(images, float(np.mean(cosines)), float(np.min(cosines)), correlation)


def has_decoder(model: Path, tokens: str) -> bool:
    """Whether a float ONNX model goes on after the value ``tokens``."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    return any(tokens in node.input for node in graph.node)


def cut_decoder(model: Path, tokens: str) -> Decoder:
    """The part of a float ONNX model after the value ``tokens``, as a function.

    It is cut out with ``onnx.utils.Extractor`` and runs in ONNX Runtime. The images are passed too,
    since exported decoders read sizes from them.

    Raises:
        InputError: the model has no such value, or cannot be read.
    """
    import onnx
    import onnxruntime

    try:
        whole = onnx.load(model)
        if not any(tokens in node.output for node in whole.graph.node):
            raise InputError("no such value")
        kind = onnx.helper.make_tensor_value_info(tokens, onnx.TensorProto.FLOAT, None)
        whole.graph.value_info.append(kind)
        image = whole.graph.input[0].name
        cut = onnx.utils.Extractor(whole).extract_model(
            [image, tokens], [output.name for output in whole.graph.output]
        )
    except Exception as error:  # onnx raises several unrelated types
        raise InputError(f"{model}: cannot cut the decoder after '{tokens}' ({error})") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoder.onnx"
        onnx.save(cut, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def decode(images: Array, values: Array) -> Array:
        return np.asarray(session.run(None, {image: images, tokens: values})[0])

    return decode


def _cosines(a: Array, b: Array) -> list[float]:
    if a.shape != b.shape:
        raise InputError(f"the program gives {a.shape}, the float model {b.shape}")
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return [float(c) for c in ((a * b).sum(-1) / np.maximum(norms, 1e-12)).ravel()]


def _correlations(a: Array, b: Array) -> list[float]:
    return [float(np.corrcoef(x.ravel(), y.ravel())[0, 1]) for x, y in zip(a, b, strict=True)]
