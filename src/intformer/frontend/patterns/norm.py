"""Layer norm and RMS norm that an exporter has written out in single operators."""

from __future__ import annotations

import numpy as np

from intformer.frontend.rewrite import Rewriter
from intformer.ir.graph import Node


def reciprocal_root(rw: Rewriter, node: Node) -> str | None:
    """``x * (1 / s)`` with a computed s becomes ``x / s``."""
    if node.op != "mul":
        return None
    for x, r in rw.sides(node):
        reciprocal = rw.producer(r, "div")
        if reciprocal is not None and rw.scalar(reciprocal.inputs[0]) == 1:
            return rw.emit("div", x, reciprocal.inputs[1])
    return None


def fuse_norm(rw: Rewriter, node: Node) -> str | None:
    """``d / sqrt(mean(d²) + eps)``: layer norm if ``d = x - mean(x)``, else RMS norm of d.

    Gamma and beta, if they follow, are folded in by the patterns for affine maps.
    """
    if node.op != "div":
        return None
    d, root = node.inputs
    eps = _root_mean_square(rw, root, d)
    if eps is None:
        return None
    size = rw.shape(d)[-1]
    gamma = rw.constant(f"{node.name}.gamma", np.ones(size))
    x = centred(rw, d)
    if x is None:
        return rw.emit("rms_norm", d, gamma, eps=eps)
    return rw.emit(
        "layer_norm", x, gamma, rw.constant(f"{node.name}.beta", np.zeros(size)), eps=eps
    )


def _root_mean_square(rw: Rewriter, root: str, d: str) -> float | None:
    """The eps of ``sqrt(mean(d²) + eps)``, ``None`` if ``root`` is something else."""
    inner = _input(rw, root, "sqrt")
    total = rw.producer(inner, "add") if inner else None
    if total is None:
        return None
    for mean, c in rw.sides(total):
        eps = rw.scalar(c)
        squares = last_mean(rw, mean)
        if eps is not None and squares is not None and _is_square(rw, squares, d):
            return eps
    return None


def _is_square(rw: Rewriter, value: str, d: str) -> bool:
    node = rw.producer(value, "pow", "mul")
    if node is None or node.inputs[0] != d:
        return False
    return node.inputs[1] == d if node.op == "mul" else rw.scalar(node.inputs[1]) == 2


def centred(rw: Rewriter, d: str) -> str | None:
    """The x of ``d = x - mean(x)``."""
    node = rw.producer(d, "sub")
    if node is None or last_mean(rw, node.inputs[1]) != node.inputs[0]:
        return None
    return node.inputs[0]


def last_mean(rw: Rewriter, value: str) -> str | None:
    """The x of ``value = mean(x)`` over the last axis, kept."""
    node = rw.producer(value, "mean")
    if node is None or not node.attrs["keepdims"]:
        return None
    (x,) = node.inputs
    return x if node.attrs["axis"] == len(rw.shape(x)) - 1 else None


def _input(rw: Rewriter, value: str, op: str) -> str | None:
    node = rw.producer(value, op)
    return node.inputs[0] if node else None
