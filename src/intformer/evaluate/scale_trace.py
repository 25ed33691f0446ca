"""Where each scale of a program is born, carried, multiplied, matched and re-scaled.

A reading of Scale Propagation (Lin et al., arXiv 2009.08034, section 4): every value is a pair of
integers and a scale, products are held in 32 bits, and a value is rounded only where it has to
leave them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.ir.graph import Graph, Node
from intformer.ir.meanings import recorded_meanings
from intformer.runtime.stored import with_computed_constants

Scale = NDArray[np.float64]
"""Of a value: one number, or one for each channel."""

NORMS = {"layer_norm", "rms_norm", "l1_norm"}
EMBEDDINGS = {"embedding", "tied_embedding"}
MOVES = {"reshape", "transpose", "slice", "concat", "expand", "repeat_batch", "append_rows"}

SHORT = 2**16
"""A numerator below this is worth printing."""


@dataclass(frozen=True)
class ScaleStep:
    """One operator of a program.

    Attributes:
        layer: its layer, or its value where it has none.
        op: integer operator.
        event: what becomes of scales: ``born``, ``carried``, ``multiplied``, ``matched``,
            ``re-scaled``, ``re-born`` (a division took the old one away) or ``computed``.
        operands: scales of what it reads.
        result: scale of what it writes.
        dtype: element type of the result.
        operators: operators of the float model that it computes; each would be followed by a
            requantization if nothing were held in 32 bits.
        roundings: requantizations that it does.
    """

    layer: str
    op: str
    event: str
    operands: tuple[str, ...]
    result: str
    dtype: str
    operators: int
    roundings: int

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def scale_trace(graph: Graph) -> list[ScaleStep]:
    """All steps of a program in order; scales that the program does not record read ``?``."""
    scales, zeros = _recorded(graph)
    graph = with_computed_constants(graph)
    for node in reversed(graph.nodes):
        _infer(graph, node, scales)
    return [_step(graph, node, scales, zeros) for node in graph]


def _recorded(graph: Graph) -> tuple[dict[str, Scale], dict[str, int]]:
    """Scales and zero points by integer value, as quantization wrote them down."""
    recorded = recorded_meanings(graph)
    stored = [*recorded.compared.values(), *recorded.equalized]
    return (
        {each.value: np.array([each.scale], np.float64) for each in stored},
        {each.value: each.zero_point for each in stored},
    )


def _infer(graph: Graph, node: Node, scales: dict[str, Scale]) -> None:
    """Scales of operands, from the result's and the multiplier between them."""
    result = scales.get(node.output)
    if result is None:
        return
    if node.op in MOVES:
        scales.setdefault(node.inputs[0], result)
    elif node.op == "requantize":
        scales.setdefault(node.inputs[0], _before(graph, node, result, 1))
    elif node.op == "add":
        for place in (0, 1):
            scales.setdefault(node.inputs[place], _before(graph, node, result, place + 2))


def _before(graph: Graph, node: Node, result: Scale, place: int) -> Scale:
    """Scale of an operand that the constant at ``place`` brings to that of the result."""
    multiplier = graph.constants[node.inputs[place]].astype(np.float64)
    return np.asarray(result * multiplier / 2.0 ** node.number("shift"))


def _step(graph: Graph, node: Node, scales: dict[str, Scale], zeros: dict[str, int]) -> ScaleStep:
    event, operators, roundings = _kind(graph, node, zeros)
    return ScaleStep(
        node.name or node.output,
        node.op,
        event,
        _operands(graph, node, scales),
        scale_text(scales.get(node.output)),
        graph.types[node.output].dtype,
        operators,
        roundings,
    )


def _kind(graph: Graph, node: Node, zeros: dict[str, int]) -> tuple[str, int, int]:
    """(event, operators of the float model, requantizations)."""
    if node.op in MOVES:
        return "carried", 0, 0
    if node.op == "positions" or node.op == "positions_at":
        return "born", 0, 0
    if node.op in EMBEDDINGS:
        return "born", 1, 1
    if node.op in ("linear", "linear16", "depthwise"):
        return "multiplied", 1, 0
    if node.op == "requantize":
        cuts = graph.types[node.output].dtype == "uint8" and zeros.get(node.output) == 0
        ends = graph.types[node.inputs[0]].dtype == "int32"  # of a linear layer, counted there
        return "re-scaled", int(cuts or not ends), 1  # no negative numbers: a ReLU too
    if node.op == "add":
        return "matched", 1, 1
    if node.op in NORMS:
        return "re-born", 1, 1
    if "attention" in node.op:  # scores, weights and the mix of values; scores are held
        return "re-born", 3, 2
    return "computed", 1, int(graph.types[node.output].dtype != "int32")


def _operands(graph: Graph, node: Node, scales: dict[str, Scale]) -> tuple[str, ...]:
    if node.op in ("linear", "linear16", "depthwise"):
        own, total = scales.get(node.inputs[0]), scales.get(node.output)
        weight = None if own is None or total is None else total / own
        return scale_text(own), scale_text(weight)
    if node.op in EMBEDDINGS and node.output in scales:
        return (scale_text(_before(graph, node, scales[node.output], 2)),)
    read = {"add": 2, "matmul": 2, "mul": 2}.get(node.op, 3 if "attention" in node.op else 1)
    values = [v for v in node.inputs[:read] if v not in graph.inputs and v not in graph.constants]
    return tuple(scale_text(scales.get(value)) for value in values)


def scale_text(scale: Scale | None) -> str:
    """``b/2^c`` where b is short, else a decimal number; ``low..high`` of several channels."""
    if scale is None:
        return "?"
    low, high = float(scale.min()), float(scale.max())
    return _number(low) if low == high else f"{low:.2g}..{high:.2g}"


def _number(value: float) -> str:
    exact = Fraction(value)
    if abs(exact.numerator) >= SHORT:
        return f"{value:.4g}"
    power = exact.denominator.bit_length() - 1
    return f"{exact.numerator}/2^{power}" if power else str(exact.numerator)


def requantizations(steps: list[ScaleStep]) -> tuple[int, int]:
    """(with one after every operator, as they are)."""
    return sum(step.operators for step in steps), sum(step.roundings for step in steps)
