"""Chains of operators that only move elements, understood by moving their indices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from intformer.errors import CaptureError
from intformer.frontend.rewrite import Rewriter
from intformer.frontend.shapes import reshape_attribute
from intformer.ir.graph import Dim, Node, Shape
from intformer.quantize.float_run import evaluate

MOVES = ("reshape", "transpose", "slice")
SIZES = {"N": 2, "S": 3, "T": 5}
"""Sizes at which chains are tried; the symbolic shapes are compared besides."""


def chain(rw: Rewriter, value: str) -> list[Node]:
    """The moves that made ``value``, in execution order."""
    nodes: list[Node] = []
    node = rw.producer(value, *MOVES)
    while node is not None:
        nodes.append(node)
        node = rw.producer(node.inputs[0], *MOVES)
    return nodes[::-1]


def moved(rw: Rewriter, nodes: list[Node]) -> Tensor:
    """Where each element of a chain's result comes from, as an index into its flat source."""
    shape = concrete(rw.shape(nodes[0].inputs[0]))
    result = torch.arange(math.prod(shape), dtype=torch.int32).reshape(shape)
    for node in nodes:
        result = evaluate(node, [result])
    return result


def concrete(shape: Shape) -> tuple[int, ...]:
    """A symbolic shape at the sizes of :data:`SIZES`."""
    return tuple(_size(d) for d in shape)


def _size(dim: Dim) -> int:
    if isinstance(dim, int):
        return dim
    return math.prod(int(p) if p.isdigit() else SIZES[p] for p in dim.split("*"))


def merge_moves(rw: Rewriter, node: Node) -> str | None:
    """A chain of moves becomes nothing, one reshape or one transpose where that is the same."""
    if node.op not in MOVES:
        return None
    nodes = chain(rw, node.output)
    for start in range(len(nodes) - 1):
        simpler = _simpler(rw, nodes[start:], node.output)
        if simpler is not None:
            return simpler
    same = node.op == "reshape" and rw.shape(node.inputs[0]) == rw.shape(node.output)
    return node.inputs[0] if same else None


def _simpler(rw: Rewriter, nodes: list[Node], value: str) -> str | None:
    source = nodes[0].inputs[0]
    before, after = rw.shape(source), rw.shape(value)
    size = math.prod(concrete(before))
    if size != math.prod(concrete(after)):
        return None
    index = moved(rw, nodes)
    if not torch.equal(index.flatten(), torch.arange(size, dtype=index.dtype)):
        return _one_transpose(rw, source, after, index)
    return source if before == after else _one_reshape(rw, source, after)


def _one_reshape(rw: Rewriter, source: str, after: Shape) -> str | None:
    try:
        reshape_attribute(rw.shape(source), after)
    except CaptureError:
        return None
    return rw.reshape(source, after)


def _one_transpose(rw: Rewriter, source: str, after: Shape, index: Tensor) -> str | None:
    before = rw.shape(source)
    if len(before) != len(after):
        return None
    original = torch.arange(index.numel(), dtype=index.dtype).reshape(concrete(before))
    steps = [_step(index, axis) for axis in range(index.dim())]
    free = [i for i, size in enumerate(concrete(before)) if size == 1]
    perm = [original.stride().index(s) if s in original.stride() else -1 for s in steps]
    for axis, size in enumerate(index.shape):
        if size == 1 and free:
            perm[axis] = free.pop(0)
    if sorted(perm) != list(range(len(before))) or tuple(before[i] for i in perm) != after:
        return None
    return rw.transpose(source, tuple(perm)) if torch.equal(original.permute(perm), index) else None


def _step(index: Tensor, axis: int) -> int:
    line = index.movedim(axis, 0).reshape(index.shape[axis], -1)[:, 0]
    return int(line[1] - line[0]) if len(line) > 1 else 0
