"""OpenVINO: float32, and int8 quantized by NNCF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from intformer.evaluate.bench.engines.base import Engine, Run
from intformer.evaluate.bench.engines.onnx_runtime import by_input
from intformer.evaluate.bench.job import CALIBRATION, Array, Feed, Job


def _loader(name: str, **settings: str) -> Callable[[Job, int], Run]:
    def load(job: Job, threads: int) -> Run:
        import openvino

        chosen = {
            "INFERENCE_NUM_THREADS": str(threads),
            "NUM_STREAMS": "1",
            "PERFORMANCE_HINT": "LATENCY",
            **settings,
        }
        compiled = openvino.Core().compile_model(str(job.folder / name), "CPU", chosen)
        names = [port.get_any_name() for port in compiled.inputs]
        request = compiled.create_infer_request()

        def run(feed: Feed) -> Array:
            made = request.infer(by_input(names, feed), share_inputs=True)
            return np.asarray(made[0])

        return run

    return load


def _quantized(job: Job) -> None:
    import nncf
    import openvino

    model = openvino.Core().read_model(str(job.onnx))
    names = [port.get_any_name() for port in model.inputs]
    feed = by_input(names, job.feed(CALIBRATION))
    count = len(next(iter(feed.values())))
    samples = [{name: array[i : i + 1] for name, array in feed.items()} for i in range(count)]
    made: Any = nncf.quantize(
        model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=count
    )
    openvino.save_model(made, str(job.folder / "nncf.xml"), compress_to_fp16=False)


_FLOAT = ("float.onnx",)
ENGINES = (
    Engine(
        "openvino",
        "OpenVINO",
        "float32",
        ("openvino",),
        # Without the hint, processors with bfloat16 instructions would not compute in float32.
        _loader("float.onnx", INFERENCE_PRECISION_HINT="f32"),
        needs=_FLOAT,
    ),
    Engine(
        "openvino-int8",
        "OpenVINO NNCF",
        "int8",
        ("openvino", "nncf"),
        _loader("nncf.xml"),
        _quantized,
        _FLOAT,
    ),
)
