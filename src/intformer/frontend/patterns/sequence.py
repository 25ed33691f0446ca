"""Operators that sequence models write out: polynomial attention, L1 norm, rotations, gates."""

from __future__ import annotations

import numpy as np

from intformer.frontend.patterns.norm import centred, last_mean
from intformer.frontend.rewrite import Rewriter
from intformer.frontend.shapes import fixed
from intformer.ir.graph import Node


def fuse_polynomial(rw: Rewriter, node: Node) -> str | None:
    """``p / sum(p) @ v`` with ``p = relu(scale · q kᵀ + b)^n + delta``, hidden keys 0."""
    division = rw.sole(node.inputs[0], "div") if node.op == "matmul" else None
    if division is None:
        return None
    total = rw.producer(division.inputs[1], "total")
    if total is None or total.inputs[0] != division.inputs[0]:
        return None
    hidden = rw.producer(division.inputs[0], "hide")
    value = hidden.inputs[0] if hidden else division.inputs[0]
    parts = _polynomial(rw, value)
    if parts is None:
        return None
    scores, b, delta, power = parts
    mask = hidden.inputs[1:] if hidden else ()
    causal = bool(hidden and hidden.attrs["causal"])
    return _emit(rw, node, scores, b, delta, mask, power, causal)


def _emit(
    rw: Rewriter,
    node: Node,
    scores: str,
    b: str,
    delta: str,
    mask: tuple[str, ...],
    power: int,
    causal: bool,
) -> str | None:
    scale = 1.0
    while (factor := rw.producer(scores, "scale")) is not None:
        scores, scale = factor.inputs[0], scale * factor.number("factor")
    product = rw.producer(scores, "matmul")
    if product is None:
        return None
    rank = len(rw.shape(scores))
    heads = fixed(rw.shape(scores)[1])
    k = rw.transpose(product.inputs[1], (*range(rank - 2), rank - 1, rank - 2))
    vectors = [
        rw.parameter(x, np.broadcast_to(rw.graph.constants[x].reshape(-1), heads).copy())
        for x in (b, delta)
    ]
    return rw.emit(
        "polynomial_sdpa",
        product.inputs[0],
        k,
        node.inputs[1],
        *vectors,
        *mask,
        scale=scale,
        power=power,
        causal=causal,
    )


def _polynomial(rw: Rewriter, value: str) -> tuple[str, str, str, int] | None:
    """(scores, b, delta, power) of ``relu(scores + b)^power + delta``."""
    found = _plus_constant(rw, value)
    raised = rw.producer(found[0], "pow", "relu") if found else None
    if found is None or raised is None:
        return None
    power = 1 if raised.op == "relu" else rw.scalar(raised.inputs[1])
    relu = raised if raised.op == "relu" else rw.producer(raised.inputs[0], "relu")
    inner = _plus_constant(rw, relu.inputs[0]) if relu else None
    if inner is None or power is None or power != int(power):
        return None
    return (*inner, found[1], int(power))


def _plus_constant(rw: Rewriter, value: str) -> tuple[str, str] | None:
    node = rw.producer(value, "add")
    for x, c in rw.sides(node) if node else []:
        if rw.array(c) is not None:
            return x, c
    return None


def fuse_l1_norm(rw: Rewriter, node: Node) -> str | None:
    """``d / (mean|d| + eps)`` with ``d = x - mean(x)``; gamma and beta are folded in later."""
    if node.op != "div":
        return None
    d, divisor = node.inputs
    x, deviation = centred(rw, d), _plus_constant(rw, divisor)
    if x is None or deviation is None:
        return None
    distance = last_mean(rw, deviation[0])
    absolute = rw.producer(distance, "abs") if distance else None
    eps = rw.scalar(deviation[1])
    if absolute is None or absolute.inputs[0] != d or eps is None:
        return None
    size = rw.shape(d)[-1]
    gamma = rw.constant(f"{node.name}.gamma", np.ones(size))
    return rw.emit("l1_norm", x, gamma, rw.constant(f"{node.name}.beta", np.zeros(size)), eps=eps)


def fuse_rotary(rw: Rewriter, node: Node) -> str | None:
    """``x · cos + rotate_half(x) · sin`` with tables of positions, for x [N, heads, T, D]."""
    if node.op != "add":
        return None
    for left, right in rw.sides(node):
        plain, turned = rw.producer(left, "mul"), rw.producer(right, "mul")
        if plain is None or turned is None:
            continue
        for x, cosine in rw.sides(plain):
            for half, sine in rw.sides(turned):
                tables = [_rotation_table(rw, t) for t in (cosine, sine)]
                if all(tables) and _rotated_half(rw, half) == x and len(rw.shape(x)) == 4:
                    return rw.emit("rotate", x, *(t for t in tables if t))
    return None


def join_rotated_heads(rw: Rewriter, node: Node) -> str | None:
    """``rotate`` on [N, heads, T, D] becomes ``rotary`` on [N, T, heads·D] between moves."""
    if node.op != "rotate":
        return None
    x, *tables = node.inputs
    n, heads, t, d = rw.shape(x)
    flat = rw.reshape(rw.transpose(x, (0, 2, 1, 3)), (n, t, fixed(heads) * fixed(d)))
    turned = rw.emit("rotary", flat, *tables, heads=fixed(heads))
    return rw.transpose(rw.reshape(turned, (n, t, heads, d)), (0, 2, 1, 3))


def _rotation_table(rw: Rewriter, value: str) -> str | None:
    """The constant [P, D] behind [1, 1, T, D] first rows; both halves of a row must be equal."""
    while (reshape := rw.producer(value, "reshape")) is not None:
        value = reshape.inputs[0]
    positions = rw.producer(value, "positions")
    table = rw.array(positions.inputs[1]) if positions else None
    if positions is None or table is None:
        return None
    half = table.shape[1] // 2
    return positions.inputs[1] if (table[:, :half] == table[:, half:]).all() else None


def _rotated_half(rw: Rewriter, value: str) -> str | None:
    """The x of ``concat(-x[..., D/2:], x[..., :D/2])``."""
    concat = rw.producer(value, "concat")
    if concat is None or len(concat.inputs) != 2:
        return None
    negated, first = rw.producer(concat.inputs[0], "scale"), rw.producer(concat.inputs[1], "slice")
    second = rw.producer(negated.inputs[0], "slice") if negated else None
    if negated is None or first is None or second is None or negated.number("factor") != -1:
        return None
    x, size = first.inputs[0], rw.shape(first.inputs[0])[-1]
    bounds = [(n.attrs["start"], n.attrs["stop"]) for n in (first, second)]
    halves = [(0, fixed(size) // 2), (fixed(size) // 2, size)]
    return x if second.inputs[0] == x and bounds == halves else None
