"""Names of values made of module paths and operators, so that files need not store them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from intformer.ir.graph import Graph, Node
from intformer.ir.operators import OPERATORS


def readable_names(graph: Graph, inputs: Mapping[str, str] | None = None) -> dict[str, str]:
    """Value -> name: ``blocks.0.mlp.fc1.linear`` for a result, ``...fc1.weight`` for a constant.

    A constant has the name of the operand that it is to its first reader. Of several values that
    would have one name, those behind the first get numbers. Inputs keep their names, or get those
    in ``inputs``. The names depend on operators, paths and inputs of the integer graph alone, so a
    graph with these names has them again.
    """
    names = dict(inputs or {name: name for name in graph.inputs})
    taken, used = set(names.values()), Counter[str]()
    for value, wanted in _wishes(graph):
        if value in names:
            continue
        name = wanted
        while name in taken:
            used[wanted] += 1
            name = f"{wanted}_{used[wanted] + 1}"
        taken.add(name)
        names[value] = name
    return names


def _wishes(graph: Graph) -> Iterator[tuple[str, str]]:
    """Values with the names they should have, nodes in order; then constants that nobody reads."""
    for node in graph:
        prefix = f"{node.name}." if node.name else ""
        for position, value in enumerate(node.inputs):
            if value in graph.constants:
                yield value, prefix + _operand(node, position)
        yield node.output, prefix + node.op
    for value in graph.constants:
        yield value, "constant"


def _operand(node: Node, position: int) -> str:
    operands = OPERATORS[node.op].operands
    return operands[min(position, len(operands) - 1)].name


def rename(graph: Graph, names: dict[str, str]) -> None:
    """Give every value of ``graph`` the name that ``names`` has for it."""
    for node in graph:
        node.inputs = tuple(names[value] for value in node.inputs)
        node.outputs = tuple(names[value] for value in node.outputs)
    graph.inputs = {names[value]: kind for value, kind in graph.inputs.items()}
    graph.outputs = {public: names[value] for public, value in graph.outputs.items()}
    graph.constants = {names[value]: array for value, array in graph.constants.items()}
    graph.types = {names[value]: kind for value, kind in graph.types.items()}
