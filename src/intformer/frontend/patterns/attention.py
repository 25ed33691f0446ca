"""Attention in all the ways it is written, brought to one operator on [N, T, heads·D] values."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from intformer.errors import CaptureError
from intformer.frontend.patterns.moves import chain, concrete, moved
from intformer.frontend.rewrite import Rewriter
from intformer.frontend.shapes import fixed
from intformer.ir.graph import Node


@dataclass
class _Scores:
    """``scale · q kᵀ`` plus an optional key mask, before the softmax."""

    q: str
    k_transposed: str
    scale: float
    mask: tuple[str, ...]


def fuse_eager(rw: Rewriter, node: Node) -> str | None:
    """``softmax(scale · q @ kᵀ + mask) @ v`` becomes ``sdpa``."""
    if node.op != "matmul":
        return None
    softmax = rw.sole(node.inputs[0], "softmax")
    rank = len(rw.shape(node.output))
    if softmax is None or softmax.attrs["axis"] != rank - 1:
        return None
    scores = _scores(rw, softmax.inputs[0])
    if scores is None:
        return None
    k = rw.transpose(scores.k_transposed, (*range(rank - 2), rank - 1, rank - 2))
    return rw.emit("sdpa", scores.q, k, node.inputs[1], *scores.mask, scale=scores.scale)


def _scores(rw: Rewriter, value: str) -> _Scores | None:
    scale, mask = 1.0, ()  # type: float, tuple[str, ...]
    while True:
        node = rw.sole(value, "scale", "add", "matmul")
        if node is None:
            return None
        if node.op == "matmul":
            return _Scores(node.inputs[0], node.inputs[1], scale, mask)
        if node.op == "scale":
            value, scale = node.inputs[0], scale * node.number("factor")
            continue
        found = [(x, rw.producer(m, "key_mask")) for x, m in rw.sides(node)]
        masked = [(x, m) for x, m in found if m is not None]
        if not masked or mask:
            return None
        value, mask = masked[0][0], masked[0][1].inputs


def absorb_scale(rw: Rewriter, node: Node) -> str | None:
    """A factor on q or k, on either side of splitting the heads, goes into ``sdpa``'s scale."""
    if node.op != "sdpa":
        return None
    for operand in (0, 1):
        nodes = chain(rw, node.inputs[operand])
        value = nodes[0].inputs[0] if nodes else node.inputs[operand]
        factor = rw.sole(value, "scale")
        if factor is None or any(rw.sole(n.output) is None for n in nodes):
            continue
        value = factor.inputs[0]
        for move in nodes:
            value = rw.emit_with(move.op, [value], move.attrs, move.name)
        inputs = [*node.inputs]
        inputs[operand] = value
        scale = node.number("scale") * factor.number("factor")
        return rw.emit("sdpa", *inputs, scale=scale)
    return None


def join_heads(rw: Rewriter, node: Node) -> str | None:
    """``sdpa`` on [N, heads, T, D] becomes ``attention`` on [N, T, heads·D] between moves."""
    if node.op != "sdpa":
        return None
    rank = len(rw.shape(node.inputs[0]))
    if rank not in (3, 4):
        raise CaptureError(f"{node.name}: attention on {rank} axes; expected [N, heads, T, D]")
    heads = fixed(rw.shape(node.inputs[0])[1]) if rank == 4 else 1
    flat = [_flat(rw, x) if rank == 4 else x for x in node.inputs[:3]]
    scale = node.attrs["scale"]
    result = rw.emit("attention", *flat, *node.inputs[3:], heads=heads, scale=scale)
    if rank == 3:
        return result
    n, _, t, d = rw.shape(node.output)
    return rw.transpose(rw.reshape(result, (n, t, heads, d)), (0, 2, 1, 3))


def _flat(rw: Rewriter, value: str) -> str:
    n, heads, t, d = rw.shape(value)
    return rw.reshape(rw.transpose(value, (0, 2, 1, 3)), (n, t, fixed(heads) * fixed(d)))


def split_projection(rw: Rewriter, node: Node) -> str | None:
    """A merged qkv (or kv) layer becomes one layer per operand of the attention."""
    if node.op != "attention":
        return None
    operands = [_own_rows(rw, x, "qkv"[i]) for i, x in enumerate(node.inputs[:3])]
    if not any(operands):
        return None
    inputs = [new or old for new, old in zip(operands, node.inputs[:3], strict=True)]
    return rw.emit_with("attention", [*inputs, *node.inputs[3:]], node.attrs)


def _own_rows(rw: Rewriter, value: str, part: str) -> str | None:
    """A linear layer that makes ``value`` directly, if ``value`` is channels of one picked."""
    nodes = chain(rw, value)
    linear = rw.producer(nodes[0].inputs[0], "linear") if nodes else None
    if linear is None or rw.shape(linear.output)[:-1] != rw.shape(value)[:-1]:
        return None
    rows = _rows(rw, nodes, linear)
    if rows is None:
        return None
    path = f"{linear.name}.{part}"
    _, weight, *bias = linear.inputs
    parameters = [rw.constant(f"{path}.weight", rw.graph.constants[weight][rows])]
    parameters += [rw.constant(f"{path}.bias", rw.graph.constants[b][rows]) for b in bias]
    return rw.emit("linear", linear.inputs[0], *parameters, path=path)


def _rows(rw: Rewriter, nodes: list[Node], linear: Node) -> list[int] | None:
    """The channels picked, if every token picks the same and only its own."""
    index = moved(rw, nodes).flatten(0, -2).long()
    width = concrete(rw.shape(linear.output))[-1]
    offsets = torch.arange(index.shape[0])[:, None] * width
    rows = index[0]
    if not torch.equal(index, offsets + rows) or bool((rows >= width).any()):
        return None
    return [int(r) for r in rows]
