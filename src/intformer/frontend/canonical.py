"""From what a frontend has written to canonical operators; every step is exact in real numbers."""

from __future__ import annotations

from intformer.errors import CaptureError
from intformer.frontend.patterns import (
    activation,
    affine,
    attention,
    elementwise,
    moves,
    norm,
    remainders,
    sequence,
    windows,
)
from intformer.frontend.patterns.batch import split_batch
from intformer.frontend.rewrite import Pattern, Rewriter
from intformer.ir.float_ops import CANONICAL
from intformer.ir.graph import Graph

PHASES: list[list[Pattern]] = [
    # Numbers, norms and activations first: later patterns look at whole operators.
    [
        elementwise.fold_constants,
        elementwise.merge_equal,
        elementwise.number_to_scale,
        elementwise.divide_by_vector,
        elementwise.merge_scales,
        elementwise.unexpand,
        elementwise.add_of_nothing,
        windows.lowest_border,
        norm.reciprocal_root,
        norm.fuse_norm,
        sequence.fuse_l1_norm,
        sequence.fuse_rotary,
        activation.fuse_activation,
        remainders.normalize_vector,
    ],
    # Attention takes the factors on q and k before linear layers can.
    [
        attention.fuse_eager,
        sequence.fuse_polynomial,
        attention.absorb_scale,
    ],
    [
        affine.matmul_to_linear,
        affine.add_to_bias,
        affine.multiply_into_layer,
        affine.fold_batch_norm,
        affine.multiply_into_convolution,
        affine.add_into_convolution,
        sequence.join_rotated_heads,
        attention.join_heads,
        attention.join_windows,
        moves.merge_moves,
        attention.split_projection,
    ],
    [
        affine.unfold_batch_norm,
        affine.scale_into_layer,
        elementwise.merge_scales,
        elementwise.subtraction,
        remainders.square,
        remainders.quotient,
        remainders.left_matrix,
        elementwise.fold_into_positions,
    ],
]


def canonicalize(graph: Graph) -> Graph:
    """Rewrite ``graph`` in place until it has canonical operators only, and return it.

    Raises:
        CaptureError: an operator remains that the integer stage has no meaning for.
    """
    graph.prune()
    split_batch(graph)
    rewriter = Rewriter(graph)
    for patterns in PHASES:
        rewriter.apply(patterns)
    check_canonical(graph)
    rename_values(graph)
    return graph


def rename_values(graph: Graph) -> None:
    """Name each computed value ``<module path>.<operator>``, whatever rewriting left behind."""
    kept = {name: graph.types[name] for name in (*graph.inputs, *graph.constants)}
    types, graph.types = graph.types, kept
    names: dict[str, str] = {}
    for node in graph.nodes:
        new = graph.fresh(f"{node.name}.{node.op}" if node.name else node.op)
        names[node.output] = new
        graph.types[new] = types[node.output]
        node.inputs = tuple(names.get(x, x) for x in node.inputs)
        node.outputs = (new,)
    graph.outputs = {public: names.get(x, x) for public, x in graph.outputs.items()}


def check_canonical(graph: Graph) -> None:
    """Refuse operators that are not canonical.

    Raises:
        CaptureError: naming the first such operator and its module.
    """
    for node in graph.nodes:
        if node.op not in CANONICAL:
            shapes = ", ".join(str(graph.types[x]) for x in node.inputs)
            raise CaptureError(
                f"{node.name or node.output}: the operator {node.op!r} on {shapes} has no integer "
                "meaning here and is part of no known pattern; rewrite the module with supported "
                "operators or cut the model before it"
            )
