"""What an approximated GELU adds on average is taken from the biases of the layers that read it.

As the bias correction of rounded weights (Nagel et al., arXiv 1906.04721, section 4.2), for the
error of an operator: most of ShiftGELU's is the same for all tokens of a channel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from intformer.ir.graph import Graph, Node
from intformer.quantize.approx import gelu
from intformer.quantize.params import Affine, Decisions, FloatArray

TABLES = ("shiftgelu", "i-gelu")
"""Approximations whose result depends on the element alone."""


@dataclass
class _Layer:
    """What linear ``readers`` get of a GELU of ``value``: the error of each of the 256 inputs, and
    its sum per channel over the data."""

    value: str
    readers: list[Node]
    source: Affine
    errors: FloatArray
    total: FloatArray | float = 0.0
    rows: int = 0

    def update(self, x: Tensor) -> None:
        found = self.errors[self.source.quantize(x.numpy())].reshape(-1, x.shape[-1])
        self.total = self.total + found.sum(0)
        self.rows += len(found)


class OperatorBias:
    """Measures the mean error of approximated GELUs by channel and corrects biases for it."""

    def __init__(self, graph: Graph, decisions: Decisions, roots: Mapping[str, str]) -> None:
        self._decisions, self._roots = decisions, roots
        consumers = graph.consumers()
        layers = (
            self._layer(node, consumers.get(node.output, []))
            for node in graph
            if node.op == "gelu" and self._is_table(node)
        )
        self._layers = {layer.value: layer for layer in layers if layer.readers}

    def __bool__(self) -> bool:
        return bool(self._layers)

    def update(self, name: str, x: Tensor) -> None:
        """Take in one float value of one batch."""
        if name in self._layers:
            self._layers[name].update(x)

    def apply(self) -> None:
        """Correct the linear layers that read the results."""
        for layer in self._layers.values():
            for reader in layer.readers:
                self._correct(reader, np.asarray(layer.total / max(layer.rows, 1)))

    def _correct(self, reader: Node, error: FloatArray) -> None:
        weight = self._decisions.weights[reader.output]
        bias = weight.bias - weight.scale * (error @ weight.values)
        self._decisions.weights[reader.output] = dataclasses.replace(weight, bias=bias)

    def _is_table(self, node: Node) -> bool:
        choice = self._decisions.operator(node.output)
        return choice is not None and choice.operator in TABLES

    def _layer(self, node: Node, consumers: Sequence[Node]) -> _Layer:
        readers = [n for n in consumers if n.op == "linear" and n.inputs[0] == node.output]
        source = self._decisions.activations[self._roots[node.inputs[0]]]
        choice = self._decisions.operators[node.output]
        exact = gelu.exact(source.dequantize(np.arange(256)))
        target = Affine(max(float(np.abs(exact).max()), 1e-6) / 32767, 0, "int16")
        errors = gelu.approximated(choice.operator, source, target) - exact
        return _Layer(node.inputs[0], readers, source, errors)
