"""The matrix products of a program and how each instruction-set level computes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from intformer.ir.graph import Array, Graph, Node
from intformer.ir.lanes import safe_group
from intformer.reference.unpack import unpacked
from intformer.runtime.forms import WIDE_FORMS, choose_form

LEVELS = tuple(WIDE_FORMS)
"""Instruction-set levels with forms to choose from."""


@dataclass(frozen=True)
class Product:
    """One linear layer.

    Attributes:
        layer: where it came from.
        op: ``linear`` or ``linear16``.
        depth, columns: shape of its weight.
        group: how many products with uint8 may be added in int16: 1, 2, 4 or 8 (``ir.lanes``).
        forms: level -> how it computes the product.
    """

    layer: str
    op: str
    depth: int
    columns: int
    group: int
    forms: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        return asdict(self)


def products(graph: Graph) -> list[Product]:
    """Every linear layer of a verified integer program, in order."""
    made = graph.producers()
    return [
        _product(node, _weight(graph, made, node.inputs[1]))
        for node in graph
        if node.op in ("linear", "linear16")
    ]


def _weight(graph: Graph, made: dict[str, Node], name: str) -> Array:
    """A constant, or weights of 4 bits expanded."""
    if name in graph.constants:
        return graph.constants[name]
    packed, multiplier = (graph.constants[operand] for operand in made[name].inputs)
    return unpacked(packed, multiplier, cast(int, made[name].attrs["rows"]))


def _product(node: Node, weight: Array) -> Product:
    forms = {level: choose_form(level, node.op, weight).name.lower() for level in LEVELS}
    depth, columns = weight.shape
    return Product(node.name, node.op, depth, columns, safe_group(weight), forms)
