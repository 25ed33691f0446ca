"""ONNX Runtime: float32, static int8 with signed or unsigned weights, dynamic int8."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from intformer.evaluate.bench.engines.base import Engine, Run
from intformer.evaluate.bench.job import CALIBRATION, Array, Feed, Job

PRODUCTS = ["MatMul", "Gemm", "Conv"]
"""What is quantized: quantizing every operator makes encoders slower, not faster."""


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def _loader(name: str) -> Callable[[Job, int], Run]:
    def load(job: Job, threads: int) -> Run:
        session = _session(job.folder / name, threads)
        names = [value.name for value in session.get_inputs()]
        outputs = [session.get_outputs()[0].name]

        def run(feed: Feed) -> Array:
            return np.asarray(session.run(outputs, by_input(names, feed))[0])

        return run

    return load


def by_input(names: list[str], feed: Feed) -> Feed:
    """The feed under a file's own input names: by name, or the only input."""
    if len(names) == 1 and len(feed) == 1:
        return {names[0]: next(iter(feed.values()))}
    return {name: feed[name] for name in names}


class _Samples:
    """Calibration inputs one at a time, as ONNX Runtime's quantizer asks for them."""

    def __init__(self, job: Job, names: list[str]) -> None:
        feed = by_input(names, job.feed(CALIBRATION))
        count = len(next(iter(feed.values())))
        self._feeds: Iterator[Feed] = (
            {name: array[i : i + 1] for name, array in feed.items()} for i in range(count)
        )

    def get_next(self) -> Feed | None:
        """The next inputs, None at the end."""
        return next(self._feeds, None)


def _simplified(job: Job) -> Path:
    """The float model after the shape inference and fusions that the quantizer wants first."""
    import onnx
    from onnxruntime.quantization import shape_inference

    path = job.folder / f"simplified-{os.getpid()}.onnx"
    shape_inference.quant_pre_process(str(job.onnx), str(path), skip_symbolic_shape=True)
    model = onnx.load(path)
    del model.graph.value_info[:]  # some shapes contradict those that the quantizer infers itself
    onnx.save(model, path)
    return path


def _activation_products(path: Path) -> list[str]:
    """Products without weights, which stay in floating point.

    With them quantized, extended graph optimisations of onnxruntime 1.31 return other numbers than
    basic ones (cosine 0.92 instead of 0.9998 with the float model).
    """
    import onnx

    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = (node for node in graph.node if node.op_type == "MatMul")
    return [node.name for node in products if not weights.intersection(node.input)]


def _static(signed: bool, name: str) -> Callable[[Job], None]:
    def prepare(job: Job) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        names = [value.name for value in _session(job.onnx, 1).get_inputs()]
        simplified = _simplified(job)
        quantize_static(
            str(simplified),
            str(job.folder / name),
            _Samples(job, names),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=PRODUCTS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            nodes_to_exclude=_activation_products(simplified),
        )

    return prepare


def _dynamic(job: Job) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(_simplified(job)),
        str(job.folder / "dynamic.onnx"),
        op_types_to_quantize=["MatMul", "Gemm"],
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


_PACKAGES = ("onnxruntime",)
_FLOAT = ("float.onnx",)
ENGINES = (
    Engine("ort", "ONNX Runtime", "float32", _PACKAGES, _loader("float.onnx"), needs=_FLOAT),
    Engine(
        "ort-u8s8",
        "ONNX Runtime static u8s8",
        "int8",
        _PACKAGES,
        _loader("u8s8.onnx"),
        _static(True, "u8s8.onnx"),
        _FLOAT,
    ),
    Engine(
        "ort-u8u8",
        "ONNX Runtime static u8u8",
        "int8",
        _PACKAGES,
        _loader("u8u8.onnx"),
        _static(False, "u8u8.onnx"),
        _FLOAT,
    ),
    Engine(
        "ort-dynamic",
        "ONNX Runtime dynamic",
        "int8",
        _PACKAGES,
        _loader("dynamic.onnx"),
        _dynamic,
        _FLOAT,
    ),
)
