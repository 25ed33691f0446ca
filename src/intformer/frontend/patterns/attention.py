"""Attention in all the ways it is written, brought to one operator on [N, T, heads·D] values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from intformer.errors import CaptureError
from intformer.frontend.patterns.moves import chain, concrete, moved
from intformer.frontend.rewrite import Rewriter
from intformer.frontend.shapes import fixed, product
from intformer.ir.graph import Array, Dim, Node, Shape

FUSED = {"sdpa": "attention", "polynomial_sdpa": "polynomial_attention"}
"""Attention of split heads, and its name once the heads stand side by side again."""


@dataclass
class _Scores:
    """``scale · q kᵀ`` plus an optional mask, before the softmax."""

    q: str
    k_transposed: str
    scale: float
    mask: tuple[str, ...]
    bias: Array | None
    causal: bool


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
    operands = scores.q, k, node.inputs[1]
    if rank > 4 or scores.bias is not None:
        if scores.mask or scores.causal or rank < 3:
            return None
        bias = np.zeros(1) if scores.bias is None else scores.bias
        return rw.emit("biased_sdpa", *operands, rw.constant("bias", bias), scale=scores.scale)
    if len({rw.shape(x)[:-2] for x in operands}) > 1 or rw.shape(k) != rw.shape(node.inputs[1]):
        return None
    return rw.emit("sdpa", *operands, *scores.mask, scale=scores.scale, causal=scores.causal)


def _scores(rw: Rewriter, value: str) -> _Scores | None:
    scale, mask, causal = 1.0, (), False  # type: float, tuple[str, ...], bool
    bias: Array | None = None
    while True:
        node = rw.sole(value, "scale", "add", "matmul")
        if node is None:
            return None
        if node.op == "matmul":
            return _Scores(node.inputs[0], node.inputs[1], scale, mask, bias, causal)
        if node.op == "scale":
            value, scale = node.inputs[0], scale * node.number("factor")
            continue
        found = [(x, rw.producer(m, "key_mask", "causal_mask")) for x, m in rw.sides(node)]
        masked = [(x, m) for x, m in found if m is not None and not m.attrs["hides"]]
        if not masked:
            constant = [(x, c) for x, c in _constants(rw, node) if c is not None]
            if not constant or rw.shape(constant[0][0]) != rw.shape(node.output):
                return None
            value, added = constant[0][0], constant[0][1] * np.float32(scale)
            bias = added if bias is None else bias + added
            continue
        if mask or causal:
            return None
        value, causal = masked[0][0], masked[0][1].op == "causal_mask"
        mask = () if causal else masked[0][1].inputs


def _constants(rw: Rewriter, node: Node) -> list[tuple[str, Array | None]]:
    """Each side of an addition with the constant on the other side, repeated or not."""
    found = []
    for x, c in rw.sides(node):
        expand = rw.producer(c, "expand")
        found.append((x, rw.array(expand.inputs[0] if expand else c)))
    return found


def absorb_scale(rw: Rewriter, node: Node) -> str | None:
    """A factor on q or k, on either side of splitting the heads, goes into ``sdpa``'s scale."""
    if node.op not in (*FUSED, "biased_sdpa"):
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
        return rw.emit_with(node.op, inputs, {**node.attrs, "scale": scale})
    return None


def join_heads(rw: Rewriter, node: Node) -> str | None:
    """``sdpa`` on [N, heads, T, D] becomes ``attention`` on [N, T, heads·D] between moves."""
    if node.op not in FUSED:
        return None
    rank = len(rw.shape(node.inputs[0]))
    wider = rw.shape(node.inputs[1])[-1] != rw.shape(node.inputs[2])[-1]
    if (rank > 4 or wider) and len(node.inputs) == 3 and not node.attrs.get("causal"):
        nothing = rw.constant("bias", np.zeros(1))
        return rw.emit("biased_sdpa", *node.inputs, nothing, scale=node.attrs["scale"])
    if rank not in (3, 4):
        raise CaptureError(f"{node.name}: attention on {rank} axes; expected [N, heads, T, D]")
    heads = fixed(rw.shape(node.inputs[0])[1]) if rank == 4 else 1
    flat = [_flat(rw, x) if rank == 4 else x for x in node.inputs[:3]]
    attrs = {k: v for k, v in node.attrs.items() if k != "causal" or v}
    kv_heads = fixed(rw.shape(node.inputs[1])[1]) if rank == 4 else 1
    groups = {"kv_heads": kv_heads} if kv_heads != heads else {}
    inputs = [*flat, *node.inputs[3:]]
    result = rw.emit_with(FUSED[node.op], inputs, {**attrs, "heads": heads, **groups})
    if rank == 3:
        return result
    n, _, t, d = rw.shape(node.output)
    return rw.transpose(rw.reshape(result, (n, t, heads, d)), (0, 2, 1, 3))


def join_windows(rw: Rewriter, node: Node) -> str | None:
    """``biased_sdpa`` on [N, *windows, heads, T, D] becomes ``biased_attention`` between moves."""
    if node.op != "biased_sdpa":
        return None
    heads = fixed(rw.shape(node.inputs[0])[-3]) if len(rw.shape(node.inputs[0])) > 3 else 1
    q, k, v = (_windows(rw, x) for x in node.inputs[:3])
    bias = rw.graph.constants[node.inputs[3]]
    full = (rw.shape(q)[1], heads, rw.shape(q)[2], rw.shape(k)[2])
    bias = _window_bias(bias, rw.shape(node.output), full)
    scale = node.attrs["scale"]
    constant = rw.constant(f"{node.name}.bias", bias)
    result = rw.emit("biased_attention", q, k, v, constant, heads=heads, scale=scale)
    shape = rw.shape(node.output)
    if len(shape) == 3:
        return rw.reshape(result, shape)
    apart = (*shape[:-3], shape[-2], heads, shape[-1])
    rank = len(shape)
    perm = (*range(rank - 3), rank - 2, rank - 3, rank - 1)
    return rw.transpose(rw.reshape(result, apart), perm)


def _windows(rw: Rewriter, value: str) -> str:
    """[N, *windows, heads, T, D] as [N, W, T, heads·D]; [N, T, D] as [N, 1, T, D]."""
    shape, rank = rw.shape(value), len(rw.shape(value))
    if rank == 3:
        return rw.reshape(value, (shape[0], 1, *shape[1:]))
    moved = rw.transpose(value, (*range(rank - 3), rank - 2, rank - 3, rank - 1))
    windows = math.prod(fixed(d) for d in shape[1:-3])
    return rw.reshape(moved, (shape[0], windows, shape[-2], fixed(shape[-3]) * fixed(shape[-1])))


def _window_bias(bias: Array, shape: Shape, full: Shape) -> Array:
    """A bias that broadcasts to [N, *windows, heads, T, S] as [W or 1, heads or 1, T or 1, S]."""
    windows = [fixed(d) for d in shape[1:-3]]
    if len(shape) == 3:
        bias = bias[:, None] if bias.ndim == 3 else bias
    lead = len(windows) + 3
    bias = bias.reshape((1,) * (1 + lead - bias.ndim) + bias.shape)[0]
    if any(size != 1 for size in bias.shape[:-3]):
        bias = np.broadcast_to(bias, (*windows, *bias.shape[-3:]))
    bias = bias.reshape(-1, *bias.shape[-3:])
    keys = fixed(full[3])
    return np.ascontiguousarray(np.broadcast_to(bias, (*bias.shape[:3], keys)), np.float32)


def _flat(rw: Rewriter, value: str) -> str:
    n, heads, t, d = rw.shape(value)
    return rw.reshape(rw.transpose(value, (0, 2, 1, 3)), (n, t, fixed(heads) * fixed(d)))


def split_projection(rw: Rewriter, node: Node) -> str | None:
    """A merged qkv (or kv) layer becomes one layer per operand of the attention."""
    if node.op not in (*FUSED.values(), "biased_attention"):
        return None
    operands = [_own_rows(rw, x, "qkv"[i]) for i, x in enumerate(node.inputs[:3])]
    if not any(operands):
        return None
    inputs = [new or old for new, old in zip(operands, node.inputs[:3], strict=True)]
    return rw.emit_with(node.op, [*inputs, *node.inputs[3:]], node.attrs)


def _own_rows(rw: Rewriter, value: str, part: str) -> str | None:
    """A linear layer that makes ``value`` directly, if ``value`` is channels of one picked."""
    nodes = chain(rw, value)
    linear = rw.producer(nodes[0].inputs[0], "linear") if nodes else None
    if linear is None or _rows_of(rw, linear.output) != _rows_of(rw, value):
        return None
    rows = _rows(rw, nodes, linear)
    if rows is None or rows == list(range(fixed(rw.shape(linear.output)[-1]))):
        return None
    path = f"{linear.name}.{part}"
    _, weight, *bias = linear.inputs
    parameters = [rw.constant(f"{path}.weight", rw.graph.constants[weight][rows])]
    parameters += [rw.constant(f"{path}.bias", rw.graph.constants[b][rows]) for b in bias]
    return rw.reshape(rw.emit("linear", linear.inputs[0], *parameters, path=path), rw.shape(value))


def _rows_of(rw: Rewriter, value: str) -> Dim:
    return product(rw.shape(value)[:-1])


def _rows(rw: Rewriter, nodes: list[Node], linear: Node) -> list[int] | None:
    """The channels picked, if every token picks the same and only its own."""
    index = moved(rw, nodes).flatten(0, -2).long()
    width = concrete(rw.shape(linear.output))[-1]
    offsets = torch.arange(index.shape[0])[:, None] * width
    rows = index[0]
    if not torch.equal(index, offsets + rows) or bool((rows >= width).any()):
        return None
    return [int(r) for r in rows]
