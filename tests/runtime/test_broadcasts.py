"""Sums and products of operands that are broadcast to one shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intformer.reference import interpret
from intformer.reference.conformance import Case
from intformer.runtime import Session
from intformer.runtime.operands import broadcast_strides, walk

FULL = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}

SHAPES = [
    ((2, 5, 7), (2, 5, 7)),
    ((2, 5, 7), (2, 1, 7)),
    ((2, 5, 7), (7,)),
    ((2, 1, 40), (3, 40)),
    ((2, 5, 17), (2, 5, 1)),
    ((2, 5, 1), (2, 1, 1)),
    ((2, 4, 6, 16), (2, 1, 1, 16)),
    ((2, 4, 6, 16), (1, 4, 6, 1)),
    ((2, 1, 6, 33), (2, 4, 1, 33)),
    ((3, 1, 1, 9), (3, 8, 2, 1)),
]


def rows_of(sizes: tuple[int, ...], strides: list[int]) -> list[int]:
    """Where each row of a loop over ``sizes`` begins."""
    return [
        sum(i * step for i, step in zip(index, strides, strict=True))
        for index in np.ndindex(*sizes)
    ]


@given(st.data())
def test_walk_keeps_every_row(data: st.DataObject) -> None:
    sizes = tuple(data.draw(st.lists(st.integers(1, 4), max_size=4)))
    kept = [tuple(s if data.draw(st.booleans()) else 1 for s in sizes) for _ in range(2)]
    strides = [broadcast_strides(shape, sizes) for shape in kept]
    rank, *numbers = walk(sizes, *strides)
    parts = [numbers[i * rank : (i + 1) * rank] for i in range(3)]
    assert rank <= len(sizes) and math.prod(parts[0]) == math.prod(sizes)
    for before, after in zip(strides, parts[1:], strict=True):
        assert rows_of(tuple(parts[0]), after) == rows_of(sizes, before)


def test_walk_joins_dimensions() -> None:
    assert walk((3, 4, 5), [20, 5, 1], [20, 5, 1]) == [1, 60, 1, 1]
    assert walk((3, 4, 5), [20, 5, 1], [5, 0, 1]) == [3, 3, 4, 5, 20, 5, 1, 5, 0, 1]
    assert walk((3, 1, 5), [5, 5, 1], [0, 0, 0]) == [1, 15, 1, 0]
    assert walk((), [], []) == [0]


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("op", ["add", "multiply"])
def test_broadcast(op: str, swapped: bool, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    shapes = (b, a) if swapped else (a, b)
    types = ("uint8", "int16") if len(a) % 2 else ("int16", "int8")
    operands = {
        name: rng.integers(*FULL[dtype], shape, dtype, endpoint=True)
        for name, dtype, shape in zip("ab", types, shapes, strict=True)
    }
    ranges = {name: FULL[dtype] for name, dtype in zip("ab", types, strict=True)}
    names = ("multiplier",) if op == "multiply" else ("multiplier_a", "multiplier_b")
    low, high = (2**8, 2**12) if op == "multiply" else (2**16, 2**19)
    operands |= {name: rng.integers(low, high, 1, np.int32) for name in names}
    operands["offset"] = np.array([1 << 19], np.int64)
    attrs = {"a_zero": 0, "b_zero": 0} if op == "multiply" else {}
    shape = np.broadcast_shapes(*shapes)
    made = Case(
        op, attrs | {"shift": 20, "dtype": "int16"}, operands, ranges, np.zeros(shape, np.int16)
    )
    wanted = interpret(made.graph(), made.inputs)["y"]
    assert np.unique(wanted).size > 3
    actual = Session(made.graph(), threads=2).run(made.inputs)["y"]
    np.testing.assert_array_equal(actual, wanted)
