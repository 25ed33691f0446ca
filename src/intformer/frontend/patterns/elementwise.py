"""Constants, numbers as factors, repeated expressions, constants repeated over the batch."""

from __future__ import annotations

import numpy as np
import torch

from intformer.frontend.rewrite import Rewriter
from intformer.ir.graph import Node
from intformer.quantize.float_run import evaluate


def fold_constants(rw: Rewriter, node: Node) -> str | None:
    """An operator on constants alone becomes a constant."""
    arrays = [rw.array(x) for x in node.inputs]
    if node.op == "expand" or any(a is None for a in arrays):
        return None
    value = evaluate(node, [torch.from_numpy(np.array(a)) for a in arrays])
    return rw.constant(node.output, value.numpy())


def merge_equal(rw: Rewriter, node: Node) -> str | None:
    """The same operator on the same inputs is computed once."""
    for other in rw.users(node.inputs[0]):
        if other is node:
            return None
        if (other.op, other.inputs, other.attrs) == (node.op, node.inputs, node.attrs):
            return other.output
    return None


def number_to_scale(rw: Rewriter, node: Node) -> str | None:
    """``x * c`` and ``x / c`` become ``scale``."""
    if node.op not in ("mul", "div"):
        return None
    for x, c in rw.sides(node) if node.op == "mul" else [(node.inputs[0], node.inputs[1])]:
        factor = rw.scalar(c)
        if factor and rw.array(x) is None and rw.shape(x) == rw.shape(node.output):
            return rw.emit("scale", x, factor=factor if node.op == "mul" else 1 / factor)
    return None


def divide_by_vector(rw: Rewriter, node: Node) -> str | None:
    """``x / c`` with a constant array becomes ``x * (1 / c)``."""
    if node.op != "div":
        return None
    divisor = rw.array(node.inputs[1])
    if divisor is None or divisor.size == 1 or (divisor == 0).any():
        return None
    return rw.emit("mul", node.inputs[0], rw.parameter(node.inputs[1], 1 / divisor))


def merge_scales(rw: Rewriter, node: Node) -> str | None:
    """Two factors in a row become one; a factor of 1 goes."""
    if node.op != "scale":
        return None
    (x,), factor = node.inputs, node.attrs["factor"]
    if factor == 1:
        return x
    inner = rw.sole(x, "scale")
    if inner is None:
        return None
    product = node.number("factor") * inner.number("factor")
    return rw.emit("scale", inner.inputs[0], factor=product)


def subtraction(rw: Rewriter, node: Node) -> str | None:
    """``a - b`` becomes ``a + (-b)``."""
    if node.op != "sub":
        return None
    a, b = node.inputs
    constant = rw.array(b)
    negated = rw.emit("scale", b, factor=-1.0) if constant is None else rw.parameter(b, -constant)
    return rw.emit("add", a, negated)


def add_of_nothing(rw: Rewriter, node: Node) -> str | None:
    """``x + 0`` is ``x``."""
    if node.op != "add":
        return None
    for x, c in rw.sides(node):
        constant = rw.array(c)
        if constant is not None and not constant.any() and rw.shape(x) == rw.shape(node.output):
            return x
    return None


def unexpand(rw: Rewriter, node: Node) -> str | None:
    """A constant repeated over the batch broadcasts by itself when it is added."""
    if node.op != "add":
        return None
    for x, repeated in rw.sides(node):
        expand = rw.producer(repeated, "expand")
        if expand is not None and rw.shape(x) == rw.shape(node.output):
            return rw.emit("add", x, expand.inputs[0])
    return None


def fold_into_positions(rw: Rewriter, node: Node) -> str | None:
    """``(x + c) + positions`` with a vector c: the position table takes it (token types)."""
    if node.op != "add":
        return None
    for left, right in rw.sides(node):
        positions, inner = rw.sole(right, "positions"), rw.sole(left, "add")
        if positions is None or inner is None:
            continue
        for x, c in rw.sides(inner):
            vector = rw.vector(c)
            if vector is not None:
                ids, table = positions.inputs
                moved = rw.parameter(table, rw.graph.constants[table] + vector)
                return rw.emit("add", x, rw.emit("positions", ids, moved, path=positions.name))
    return None
