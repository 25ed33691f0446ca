"""What no larger pattern took: powers, quotients, lengths of vectors, products from the left."""

from __future__ import annotations

import math

import numpy as np

from intformer.frontend.rewrite import Rewriter
from intformer.frontend.shapes import fixed
from intformer.ir.graph import Node


def normalize_vector(rw: Rewriter, node: Node) -> str | None:
    """``x / max(|x|, eps)`` over the last axis is an RMS norm with a constant gain."""
    if node.op != "div":
        return None
    x, divisor = node.inputs
    root = rw.producer(_bare(rw, divisor), "sqrt")
    total = rw.producer(root.inputs[0], "scale") if root else None
    mean = rw.producer(total.inputs[0], "mean") if total else None
    square = rw.producer(mean.inputs[0], "mul") if mean else None
    if mean is None or square is None or set(square.inputs) != {x}:
        return None
    rank = len(rw.shape(x))
    axis, width = int(mean.number("axis")), fixed(rw.shape(x)[int(mean.number("axis"))])
    perm = tuple(rank - 1 if i == axis else axis if i == rank - 1 else i for i in range(rank))
    gain = rw.constant(f"{node.name}.gain", np.full(width, 1 / math.sqrt(width)))
    return rw.transpose(rw.emit("rms_norm", rw.transpose(x, perm), gain, eps=1e-24), perm)


def _bare(rw: Rewriter, value: str) -> str:
    """``value`` without repetition along an axis and without a lower bound."""
    while True:
        node = rw.producer(value, "concat", "clamp")
        if node is None or len(set(node.inputs)) > 1:
            return value
        value = node.inputs[0]


def square(rw: Rewriter, node: Node) -> str | None:
    """``x ** 2`` and ``x * x``."""
    if node.op == "pow" and rw.scalar(node.inputs[1]) == 2:
        return rw.emit("square", node.inputs[0])
    if node.op == "mul" and node.inputs[0] == node.inputs[1]:
        return rw.emit("square", node.inputs[0])
    return None


def quotient(rw: Rewriter, node: Node) -> str | None:
    """``a / b`` with a computed b is ``a * (1 / b)``."""
    if node.op != "div":
        return None
    a, b = node.inputs
    inverse = rw.emit("reciprocal", b)
    return inverse if rw.scalar(a) == 1 else rw.emit("mul", a, inverse)


def left_matrix(rw: Rewriter, node: Node) -> str | None:
    """``A @ x`` with a constant matrix is a linear layer on the columns of x."""
    if node.op != "matmul":
        return None
    a, x = node.inputs
    matrix = rw.array(a)
    if matrix is None or matrix.size != matrix.shape[-1] * matrix.shape[-2]:
        return None
    rank = len(rw.shape(x))
    perm = (*range(rank - 2), rank - 1, rank - 2)
    weight = rw.constant(a, matrix.reshape(matrix.shape[-2:]))
    result = rw.transpose(rw.emit("linear", rw.transpose(x, perm), weight), perm)
    return rw.reshape(result, rw.shape(node.output))
