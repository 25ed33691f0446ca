"""Shape inference with symbolic dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intformer.errors import VerifyError
from intformer.ir import shapes
from intformer.ir.graph import Shape

DIMS = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ((), (), ()),
        ((3,), (), (3,)),
        (("N", 1, 4), (5, 1), ("N", 5, 4)),
        (("N", "S"), ("N", "S"), ("N", "S")),
        ((1, "S"), ("N", 1), ("N", "S")),
    ],
)
def test_broadcast(a: Shape, b: Shape, result: Shape) -> None:
    assert shapes.broadcast(a, b) == shapes.broadcast(b, a) == result


@pytest.mark.parametrize(("a", "b"), [((2,), (3,)), (("N",), ("S",)), (("N",), (4,))])
def test_broadcast_mismatch(a: Shape, b: Shape) -> None:
    with pytest.raises(VerifyError, match="do not broadcast"):
        shapes.broadcast(a, b)


@given(DIMS, DIMS)
def test_broadcast_is_that_of_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        wanted = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(VerifyError):
            shapes.broadcast(a, b)
    else:
        assert shapes.broadcast(a, b) == wanted


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ((2, 3), (3, 4), (2, 4)),
        (("N", "S", 8), (8, 5), ("N", "S", 5)),
        (("N", 2, "T", 8), ("N", 2, 8, "S"), ("N", 2, "T", "S")),
        (("N", "T", "S"), ("N", "S", 8), ("N", "T", 8)),
    ],
)
def test_matmul(a: Shape, b: Shape, result: Shape) -> None:
    assert shapes.matmul(a, b) == result


@pytest.mark.parametrize(("a", "b"), [((3,), (3, 2)), ((2, 3), (4, 2)), (("N", "S"), ("T", 2))])
def test_matmul_mismatch(a: Shape, b: Shape) -> None:
    with pytest.raises(VerifyError, match="inner dimensions differ"):
        shapes.matmul(a, b)


@pytest.mark.parametrize(
    ("shape", "target", "result"),
    [
        ((2, 6), (3, 4), (3, 4)),
        ((2, 6), (0, -1, 2), (2, 3, 2)),
        (("N", 3, 4), (0, -1), ("N", 12)),
        (("N", "S", 8), (0, 0, 2, -1), ("N", "S", 2, 4)),
        (("N", "S", 2, 4), (0, 0, -1), ("N", "S", 8)),
        (("N", "S"), (0, 1, 1, -1), ("N", 1, 1, "S")),
        (("N", 1), (-1,), ("N",)),
        ((6,), (-1,), (6,)),
    ],
)
def test_reshape(shape: Shape, target: tuple[int, ...], result: Shape) -> None:
    assert shapes.reshape(shape, target) == result


@pytest.mark.parametrize(
    ("shape", "target", "message"),
    [
        ((2, 6), (5, 2), "cannot reshape"),
        ((2, 6), (5, -1), "cannot reshape"),
        (("N", 6), (6,), "cannot reshape"),
        (("N", 6), (-1, 4), "cannot reshape"),
        (("N", "S"), (-1,), "product with a symbol"),
        (("N", 6), (-1, 3), "product with a symbol"),
        ((2, 6), (-1, -1), "at most one -1"),
        ((2, 6), (-2, 6), "nothing below it"),
        ((2, 6), (2, 6, 0), "0 copies a dimension that is not there"),
    ],
)
def test_reshape_mismatch(shape: Shape, target: tuple[int, ...], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        shapes.reshape(shape, target)


@given(DIMS, st.data())
def test_reshape_is_that_of_numpy(shape: tuple[int, ...], data: st.DataObject) -> None:
    target = data.draw(st.lists(st.integers(-1, 6).filter(bool), min_size=1, max_size=3))
    try:
        wanted = np.zeros(shape).reshape(target).shape
    except ValueError:
        with pytest.raises(VerifyError):
            shapes.reshape(shape, tuple(target))
    else:
        assert shapes.reshape(shape, tuple(target)) == wanted


@given(st.integers(1, 9), st.data())
def test_slices_are_those_of_numpy(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size - 1))
    stop, step = data.draw(st.integers(start + 1, size)), data.draw(st.integers(1, 4))
    wanted = np.zeros((2, size))[:, start:stop:step].shape
    assert shapes.sliced((2, size), 1, start, stop, step) == wanted
    assert shapes.sliced((2, size), -1, start, stop, step) == wanted


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((1, 1, 1), "is outside"),
        ((-1, 3, 1), "is outside"),
        ((0, 5, 1), "is outside"),
        ((0, 4, 0), "must be positive"),
        ((3, 1, -1), "must be positive"),
    ],
)
def test_slices_that_are_refused(bounds: tuple[int, int, int], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        shapes.sliced((2, 4), 1, *bounds)


def test_only_the_first_of_a_sequence_can_be_sliced_off() -> None:
    assert shapes.sliced(("N", "S", 8), 1, 0, 1, 1) == ("N", 1, 8)
    with pytest.raises(VerifyError, match="symbolic dimension S"):
        shapes.sliced(("N", "S", 8), 1, 0, 2, 1)


def test_concat() -> None:
    assert shapes.concat([("N", 1, 8), ("N", 9, 8)], 1) == ("N", 10, 8)
    assert shapes.concat([("N", 1, 8), ("N", 1, 3)], -1) == ("N", 1, 11)


@pytest.mark.parametrize(
    ("parts", "axis", "message"),
    [
        ([("N", 2), ("N", 2, 1)], 1, "is not defined"),
        ([("N", 2), ("N", "S")], 1, "is not defined"),
        ([("N", 2), ("S", 2)], 1, "the other dimensions differ"),
        ([("N", 2), ("N", 2)], 2, "axis 2 is outside"),
    ],
)
def test_concat_mismatch(parts: list[Shape], axis: int, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        shapes.concat(parts, axis)


def test_axes_are_counted_from_either_end() -> None:
    assert [shapes.axis_of((1, 2, 3), axis) for axis in range(-3, 3)] == [0, 1, 2, 0, 1, 2]
    for axis in (-4, 3):
        with pytest.raises(VerifyError, match=rf"axis {axis} is outside \[1, 2, 3\]"):
            shapes.axis_of((1, 2, 3), axis)
