"""GELU and SiLU written out in single operators, recognised by what they compute.

There are many orders in which to write ``x/2 · (1 + erf(x/√2))``. Instead of a pattern for each,
an expression of one value is evaluated on a grid and compared with the functions that have a name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from intformer.frontend.rewrite import Rewriter
from intformer.ir.graph import Attribute, Node
from intformer.quantize.float_run import evaluate

STEPS = frozenset({"mul", "div", "add", "sub", "pow", "scale", "erf", "tanh", "sigmoid", "exp"})
SIGMOIDS = frozenset({"erf", "tanh", "sigmoid", "exp"})
LONGEST = 16
"""Most operators that one activation function is written in."""

GRID = torch.linspace(-8, 8, 401, dtype=torch.float64)
TOLERANCE = 2e-6
"""Above the rounding of float32 constants, far below the 5e-4 between the two kinds of GELU."""

KNOWN: list[tuple[str, dict[str, Attribute], Callable[[Tensor], Tensor]]] = [
    ("gelu", {"approximate": "none"}, F.gelu),
    ("gelu", {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
    ("silu", {}, F.silu),
]


QUICK = 1.702
"""CLIP's approximation of GELU, x·σ(1.702x), is SiLU between two factors."""


def fuse_activation(rw: Rewriter, node: Node) -> str | None:
    """A product that computes GELU or SiLU of some value becomes that operator."""
    if node.op not in ("mul", "scale", "div"):
        return None
    cone = _cone(rw, node)
    if not any(n.op in SIGMOIDS for n in cone):
        return None
    for x in dict.fromkeys(v for n in cone for v in n.inputs if rw.array(v) is None):
        values = _evaluate(rw, cone, x)
        for op, attrs, function in KNOWN:
            if _same(values, function(GRID)):
                return rw.emit_with(op, [x], attrs)
        if _same(values, F.silu(QUICK * GRID) / QUICK):
            inner = rw.emit("silu", rw.emit("scale", x, factor=QUICK))
            return rw.emit("scale", inner, factor=1 / QUICK)
    return None


def _same(values: Tensor | None, expected: Tensor) -> bool:
    return values is not None and torch.allclose(values, expected, 0, TOLERANCE)


def _cone(rw: Rewriter, node: Node) -> list[Node]:
    """The element-wise nodes above ``node`` with scalar constants, nearest first."""
    found, queue = [node], [node]
    while queue and len(found) < LONGEST:
        for value in queue.pop(0).inputs:
            above = rw.producer(value, *STEPS)
            if above is not None and above not in found and _is_scalar_step(rw, above):
                found.append(above)
                queue.append(above)
    return found


def _is_scalar_step(rw: Rewriter, node: Node) -> bool:
    return all(rw.array(x) is None or rw.scalar(x) is not None for x in node.inputs)


def _evaluate(rw: Rewriter, cone: list[Node], source: str) -> Tensor | None:
    """The value of the cone's tip if ``source`` runs over the grid, ``None`` if it needs more."""
    values: dict[str, Tensor] = {source: GRID}
    for node in _between(rw, cone, source):
        inputs = []
        for name in node.inputs:
            number = rw.scalar(name)
            if number is not None:
                inputs.append(torch.tensor(number, dtype=torch.float64))
            elif name in values:
                inputs.append(values[name])
            else:
                return None
        values[node.output] = evaluate(node, inputs)
    return values.get(cone[0].output)


def _between(rw: Rewriter, cone: list[Node], source: str) -> list[Node]:
    """The nodes of the cone that the tip needs once ``source`` is given, in execution order."""
    needed, stack = set[int](), [cone[0]]
    while stack:
        node = stack.pop()
        needed.add(id(node))
        above = [rw.producer(v) for v in node.inputs if v != source]
        stack.extend(n for n in above if n is not None and n in cone and id(n) not in needed)
    return [n for n in rw.graph.nodes if id(n) in needed]
