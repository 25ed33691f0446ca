"""Layer by layer: how far an integer program is from its float model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from intformer.errors import InputError
from intformer.ir.float_ops import UNARY
from intformer.ir.graph import Array, Graph
from intformer.ir.meanings import Meaning, recorded_meanings
from intformer.program import Program
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.samples import Batches
from intformer.runtime.trace import trace

if TYPE_CHECKING:
    from torch import nn

    from intformer.frontend.sources import Source


@dataclass(frozen=True)
class LayerSNR:
    """Signal-to-noise ratio of one float value in the integer program.

    ``fix`` is a recipe fragment (TOML) that would raise it: it keeps the layers that read the value
    at 16 bits.
    """

    name: str
    op: str
    snr_db: float
    fix: str


def compare(
    model: nn.Module | Graph | Source,
    program: Program,
    inputs: Iterable[Any],
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> list[LayerSNR]:
    """Run the float model and the program on ``inputs`` (raw batches); rank values, worst first.

    Raises:
        InputError: the program does not come from this model, or has no record of its values.
    """
    samples = list(inputs)
    graph, pixels = _graph_of(model, samples, mean, std)
    comparable, recorded = _comparable(graph), recorded_meanings(program.graph).compared
    meaning = {name: each for name, each in recorded.items() if name in comparable}
    if not meaning:
        raise InputError("the program was not made from this model (no value of it is recorded)")
    sums = {name: np.zeros(2) for name in meaning}
    runner = FloatRunner(graph)
    batches = Batches(graph, samples, pixels)
    for raw, batch in zip(batches.raw, batches, strict=True):
        _accumulate(sums, meaning, runner.run(batch, keep=list(meaning)), trace(program.graph, raw))
    found = [_layer(graph, name, *sums[name]) for name in meaning]
    return sorted(found, key=lambda layer: layer.snr_db)


def _comparable(graph: Graph) -> set[str]:
    """Values worth comparing: not those that an activation function alone reads.

    Their range is clipped on purpose where the function is flat, which looks like noise.
    """
    consumers = graph.consumers()
    return {
        node.output
        for node in graph
        if not consumers.get(node.output)
        or any(reader.op not in UNARY for reader in consumers[node.output])
    }


def _graph_of(
    model: Any, samples: list[Any], mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> tuple[Graph, Pixels | None]:
    from intformer.quantize.api import float_graph

    graph, pixels = float_graph(model, samples)
    return graph, Pixels(mean, std) if mean is not None and std is not None else pixels


def _accumulate(
    sums: dict[str, Any],
    meaning: Mapping[str, Meaning],
    floats: Mapping[str, torch.Tensor],
    integers: Mapping[str, Array],
) -> None:
    """Add this batch's signal and noise energy.

    Raises:
        InputError: a value has another size in the program.
    """
    for name, each in meaning.items():
        exact = floats[name].double().numpy()
        real = (integers[each.value].astype(np.float64) - each.zero_point) * each.scale
        if each.channels_last:
            real = real.transpose(0, 3, 1, 2)
        if real.size != exact.size:
            raise InputError(
                f"'{name}' has shape {exact.shape} in the float model and {real.shape} in the "
                "program, which was not made from this model"
            )
        noise = real.reshape(exact.shape) - exact
        sums[name] += [float((exact**2).sum()), float((noise**2).sum())]


def _layer(graph: Graph, name: str, signal: float, noise: float) -> LayerSNR:
    ratio = 10 * math.log10(max(signal, 1e-30) / noise) if noise > 0 else math.inf
    node = graph.producers()[name]
    return LayerSNR(name, node.op, ratio, _fix(graph, name))


def _fix(graph: Graph, name: str) -> str:
    """Overrides for the linear layers that read a value, else for those that make it."""
    producers = graph.producers()
    layers = [n for n in graph.consumers().get(name, []) if n.op == "linear"]
    if not layers:
        node = producers[name]
        sources = [node, *(producers[v] for v in node.inputs if v in producers)]
        layers = [n for n in sources if n.op == "linear"]
    names = dict.fromkeys(layer.name for layer in layers if layer.name)
    patterns = [json.dumps("^" + layer.replace(".", r"\.") + "$") for layer in names]
    return "\n".join(f"[overrides.{p}]\nactivation_bits = 16" for p in patterns)
