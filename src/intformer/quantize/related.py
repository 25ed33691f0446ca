"""Multipliers of a tied embedding, from those of the vocabulary projection on the same matrix.

Both follow the matrix's scales, so one is the other times a number, but for rounding: a byte for
each word of the vocabulary is left instead of four.
"""

from __future__ import annotations

import numpy as np

from intformer.arith import related_multiplier
from intformer.ir.graph import Graph, Node, TensorType
from intformer.quantize.dyadic import shift_for
from intformer.reference.primitives import NumpyPrimitives

FEWEST = 64
"""Words from which on a byte each and a node are less than four bytes each."""


def relate_multipliers(graph: Graph) -> None:
    """Let tied embeddings compute their multipliers, the very same integers."""
    nodes: list[Node] = []
    for node in graph:
        if node.op == "tied_embedding":
            related = _related(graph, node)
            if related is not None:
                nodes.append(related)
                node.inputs = (*node.inputs[:2], related.output)
        nodes.append(node)
    graph.nodes = nodes
    graph.prune()


def _related(graph: Graph, node: Node) -> Node | None:
    """The node that computes the multipliers of the embedding ``node``, if one can."""
    weight, own = node.inputs[1:]
    source = _of_projection(graph, weight)
    if source is None or own not in graph.constants:
        return None
    wanted, known = graph.constants[own], graph.constants[source]
    if wanted.shape != known.shape or len(wanted) < FEWEST or min(wanted.min(), known.min()) < 1:
        return None
    ratio = float(wanted.sum(dtype=np.int64)) / float(known.sum(dtype=np.int64))
    shift = shift_for(ratio)
    factor = max(round(ratio * 2**shift), 1)
    zero = np.zeros(len(known), np.int8)
    rest = wanted.astype(np.int64) - related_multiplier(
        NumpyPrimitives(), known, zero, factor=factor, shift=shift
    )
    if np.abs(rest).max() > 127:
        return None
    operands = source, graph.add_constant(f"{own}.rest", rest.astype(np.int8))
    output = graph.fresh(f"{own}.related")
    graph.types[output] = TensorType("int32", wanted.shape)
    return Node(
        "related_multiplier", operands, (output,), {"factor": factor, "shift": shift}, node.name
    )


def _of_projection(graph: Graph, weight: str) -> str | None:
    """The multipliers of a requantize that a layer with this weight ends in."""
    sums = {n.output for n in graph if n.op == "linear" and n.inputs[1] == weight}
    ends = (n.inputs[1] for n in graph if n.op == "requantize" and n.inputs[0] in sums)
    return next(ends, None)
