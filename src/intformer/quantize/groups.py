"""Which float values share one scale, and which integer forms each value needs."""

from __future__ import annotations

from intformer.ir.float_ops import ATTENTIONS, NORMS, UNARY, WEIGHTED
from intformer.ir.graph import Graph, Node

SHAPE_ONLY = frozenset({"reshape", "transpose", "slice", "concat", "expand"})
"""Operators that move values without changing them: inputs and output share one scale."""

PARAMETERISED = frozenset({"rescale", "embedding", "positions", "rotary"})
"""Operators whose inputs after the first are constants or ids."""

Form = str
"""``"narrow"``: uint8, what multiplications take. ``"wide"``: the residual stream's integers."""


def share_scales(graph: Graph) -> dict[str, str]:
    """Value -> the representative of all values that must have its scale."""
    parent: dict[str, str] = {name: name for name in graph.types}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph:
        if node.op in SHAPE_ONLY:
            for value in node.inputs:
                parent[find(value)] = find(node.output)
    return {name: find(name) for name in parent}


def needed_forms(graph: Graph, wide_linear: frozenset[str]) -> dict[str, set[Form]]:
    """Value -> the forms its consumers need, carried backwards through shape operators.

    ``wide_linear`` names the outputs of linear layers that take 16-bit input.
    """
    forms: dict[str, set[Form]] = {name: set() for name in graph.types}
    for value in graph.outputs.values():
        forms[value].add("wide")
    for node in reversed(graph.nodes):
        for index, value in enumerate(node.inputs):
            forms[value] |= _forms_of_input(node, index, forms[node.output], wide_linear)
    return forms


def _forms_of_input(
    node: Node, index: int, produced: set[Form], wide_linear: frozenset[str]
) -> set[Form]:
    if node.op in SHAPE_ONLY:
        return produced
    if node.op in WEIGHTED:
        if index > 0:
            return set()
        return {"wide"} if node.output in wide_linear else {"narrow"}
    if node.op in UNARY:
        return {"narrow"}
    if node.op in ATTENTIONS or node.op == "biased_attention":
        return {"narrow"} if index < 3 else set()
    if node.op in ("matmul", "max_pool"):
        return {"narrow"}
    if index > 0 and (node.op in NORMS or node.op in PARAMETERISED):
        return set()
    return {"wide"}
