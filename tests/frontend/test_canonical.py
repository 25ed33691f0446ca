"""Rewriting keeps the meaning: chains of moves, and what a dump of the result says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from frontend_models import check_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from intformer.errors import CaptureError
from intformer.frontend.build import Builder
from intformer.frontend.canonical import canonicalize
from intformer.frontend.masks import is_key_mask
from intformer.frontend.shapes import divide, product, reshape_attribute
from intformer.ir.graph import Graph
from intformer.ir.text import dump
from intformer.quantize.float_run import FloatRunner


def factorings(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Ways to write a size as a product of up to four dimensions."""
    divisors = [d for d in range(1, size + 1) if size % d == 0]

    def complete(dims: list[int]) -> tuple[int, ...]:
        found, rest = [], size
        for dim in dims:
            dim = math.gcd(dim, rest)
            found.append(dim)
            rest //= dim
        return (*found, rest)

    return st.lists(st.sampled_from(divisors), max_size=3).map(complete)


@st.composite
def chains(draw) -> Graph:
    """Graphs of random reshapes, transposes and slices that never touch the batch."""
    builder = Builder(Graph("float", limits={"N": 8}))
    value = builder.input("x", "float32", ("N", 4, 6))
    for _ in range(draw(st.integers(1, 6))):
        shape = builder.shape(value)
        kind = draw(st.sampled_from(["reshape", "transpose", "slice"]))
        if kind == "reshape":
            value = builder.reshape(value, ("N", *draw(factorings(math.prod(shape[1:])))))
        elif kind == "transpose":
            axes = draw(st.permutations(range(1, len(shape))))
            value = builder.transpose(value, (0, *axes))
        else:
            axis = draw(st.integers(1, len(shape) - 1))
            start = draw(st.integers(0, shape[axis] - 1))
            value = builder.slice(value, axis, start, draw(st.integers(start + 1, shape[axis])))
    builder.graph.outputs = {"y": value}
    return builder.graph


@settings(max_examples=80, deadline=None)
@given(chains())
def test_merged_moves_move_the_same(graph):
    x = torch.arange(3 * 24, dtype=torch.float32).reshape(3, 4, 6)
    before, count = FloatRunner(graph).outputs({"x": x})["y"], len(graph.nodes)
    canonicalize(graph)
    check_graph(graph)
    assert torch.equal(FloatRunner(graph).outputs({"x": x})["y"], before)
    assert len(graph.nodes) <= count


def test_moves_that_undo_each_other_vanish():
    builder = Builder(Graph("float", limits={"N": 8}))
    x = builder.input("x", "float32", ("N", 4, 6))
    y = builder.transpose(builder.reshape(x, ("N", 4, 2, 3)), (0, 2, 1, 3))
    y = builder.reshape(builder.transpose(y, (0, 2, 1, 3)), ("N", 4, 6))
    builder.graph.outputs = {"y": y}
    assert canonicalize(builder.graph).nodes == []
    assert builder.graph.outputs == {"y": "x"}


@pytest.mark.parametrize(
    ("source", "target", "attribute"),
    [
        (("N", "S", 6), ("N", "S", 2, 3), (0, 0, 2, 3)),
        (("N", 2, "S", 3), ("N", "2*S", 3), (0, -1, 3)),
        (("N", 4, 6), ("4*N", 6), (-1, 6)),
    ],
)
def test_symbolic_reshape(source, target, attribute):
    assert reshape_attribute(source, target) == attribute


def test_symbolic_dimensions():
    assert product(("N", 4, 2)) == "8*N" and product((3, 4)) == 12
    assert divide(("N", "S", 6), ("N", 3)) == "2*S"
    with pytest.raises(CaptureError, match="not divisible"):
        divide(("N", 6), (4,))
    with pytest.raises(CaptureError, match="two free dimensions"):
        reshape_attribute(("N", "S", 6), ("S", "N", 6))


def test_key_masks_are_told_from_look_alikes():
    assert is_key_mask(lambda m: m[:, None, None, :] == 1)
    assert is_key_mask(lambda m: (1.0 - m[:, None, None, :]) * np.float32(-3e38))
    assert not is_key_mask(lambda m: m[:, None, None, :] == 0)
    assert not is_key_mask(lambda m: m[:, None, :, None] == 1)
    assert not is_key_mask(lambda m: (1.0 - m[:, None, None, :]) * -10.0)
    assert not is_key_mask(lambda m: np.tril(m[:, None, None, :] * np.ones((m.shape[1],) * 2)) == 1)
    assert not is_key_mask(lambda m: m)


def test_dump():
    builder = Builder(Graph("float", limits={"N": 8}))
    builder.path = "head"
    x = builder.input("x", "float32", ("N", 4))
    w = builder.constant("head.weight", np.array([[1, -2, 0.5, 3]]))
    builder.graph.outputs = {"logits": builder.emit("linear", x, w)}
    assert dump(builder.graph).splitlines() == [
        "graph float (N <= 8)",
        "  input x: float32[N, 4]",
        "  const head.weight: float32[1, 4] in [-2, 3]",
        "  head.linear: float32[N, 1] = linear(x, head.weight)  # head",
        "  output logits = head.linear",
    ]
