"""The reference interpreter: runs an integer graph operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from intformer.arith import Primitives
from intformer.ir.graph import Array, Graph
from intformer.ir.inputs import check_inputs
from intformer.ir.operators import evaluate
from intformer.reference.primitives import NumpyPrimitives

Observer = Callable[[str, Any], None]


def interpret(
    graph: Graph,
    inputs: Mapping[str, Array],
    *,
    observer: Observer | None = None,
) -> dict[str, Array]:
    """Run ``graph`` (integer stage) on NumPy inputs and return its outputs by public name.

    Args:
        graph: a verified integer graph.
        inputs: arrays by input name; checked against types, shapes and ranges.
        observer: called with every value's name and array, for comparisons layer by layer.

    Raises:
        InputError: an input is missing, unknown, of the wrong shape or kind, or out of range.
        ArtifactError: the file that holds the constants was changed meanwhile.
    """
    checked = check_inputs(graph, inputs)
    outputs = execute(graph, NumpyPrimitives(), {**graph.constants, **checked}, observer)
    graph.check_constants()
    return outputs


def execute(
    graph: Graph,
    xp: Primitives,
    values: dict[str, Any],
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Run the nodes of ``graph`` in the realisation ``xp``; ``values`` holds inputs and constants.

    Values are dropped after their last use, so that memory stays at the peak of the live ones.
    """
    last_use = {value: index for index, node in enumerate(graph) for value in node.inputs}
    kept = set(graph.outputs.values())
    for index, node in enumerate(graph):
        result = evaluate(xp, node, [values[name] for name in node.inputs])
        values[node.output] = result
        if observer is not None:
            observer(node.output, result)
        for name in set(node.inputs):
            if last_use[name] == index and name not in kept:
                del values[name]
    return {public: values[name] for public, name in graph.outputs.items()}
