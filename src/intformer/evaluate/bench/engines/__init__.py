"""The engines that take part, one file per library; libraries are imported on use."""

from __future__ import annotations

from intformer.evaluate.bench.engines import integer, onnx_runtime, open_vino, pytorch
from intformer.evaluate.bench.engines.base import Engine

OURS = integer.ENGINE
PEERS: dict[str, Engine] = {
    engine.name: engine for engine in (*pytorch.ENGINES, *onnx_runtime.ENGINES, *open_vino.ENGINES)
}
ENGINES: dict[str, Engine] = {OURS.name: OURS, **PEERS}

__all__ = ["ENGINES", "OURS", "PEERS", "Engine"]
