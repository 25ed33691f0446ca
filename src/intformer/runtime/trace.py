"""Every intermediate value of a program: for comparison and debugging, never for speed."""

from __future__ import annotations

from collections.abc import Mapping

from intformer.ir.graph import Array, Graph
from intformer.reference import interpret


def trace(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Value name -> array for every value that a node computes.

    Raises:
        InputError: the inputs do not fit the program.
    """
    found: dict[str, Array] = {}
    interpret(graph, inputs, observer=found.__setitem__)
    return found
