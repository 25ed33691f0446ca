"""What a program computes of constants alone is computed once, before any plan is made."""

from __future__ import annotations

from dataclasses import replace

from intformer.ir.graph import Graph
from intformer.ir.operators import evaluate
from intformer.ir.stored import STORED_NAMES
from intformer.reference.primitives import NumpyPrimitives

COMPUTED = STORED_NAMES - {"unpack4"}
"""Operators on constants; weights of 4 bits stay what they are, for kernels to choose."""


def with_computed_constants(graph: Graph) -> Graph:
    """``graph`` with constants in the place of ``COMPUTED`` operators; it is not changed itself."""
    constants, nodes = dict(graph.constants), []
    for node in graph:
        if node.op in COMPUTED:
            operands = [constants[name] for name in node.inputs]
            constants[node.output] = evaluate(NumpyPrimitives(), node, operands)
        else:
            nodes.append(node)
    return replace(graph, constants=constants, nodes=nodes)
