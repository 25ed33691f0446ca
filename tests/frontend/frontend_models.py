"""Helpers for frontend tests: random but awake models, and the comparison every test makes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from intformer.frontend.shapes import infer
from intformer.ir.float_ops import CANONICAL
from intformer.ir.graph import Graph
from intformer.quantize.float_run import FloatRunner


def awake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random parameters and statistics far from the defaults 0 and 1, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            low, high = (0.5, 1.5) if "var" in name or "norm" in name else (-0.2, 0.2)
            spread = noise.sigmoid() * (high - low) + low if value.dim() == 1 else noise * 0.08
            value.data.copy_(spread)
    return model.eval()


def images(n: int, size: int, seed: int = 1) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest value."""
    assert actual.shape == expected.shape
    return float((actual - expected.detach()).abs().max() / expected.detach().abs().max())


def run(graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        return FloatRunner(graph).outputs(inputs)


def check_graph(graph: Graph) -> None:
    """Canonical operators only, symbolic batch, consistent types, unique values in order."""
    assert {node.op for node in graph} <= CANONICAL
    assert all(t.shape[0] == "N" for t in graph.inputs.values())
    known = set(graph.inputs) | set(graph.constants)
    for node in graph:
        assert known.issuperset(node.inputs)
        assert node.output not in known
        known.add(node.output)
        types = [graph.types[x] for x in node.inputs]
        assert infer(node.op, types, node.attrs) == graph.types[node.output]
    assert known == set(graph.types)
    assert known.issuperset(graph.outputs.values())
