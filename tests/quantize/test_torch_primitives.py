"""The torch realisation equals the NumPy one; tests/arith compares every operator besides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intformer.quantize.torch_primitives import TorchPrimitives, tensor
from intformer.reference.primitives import NumpyPrimitives

NUMPY, TORCH = NumpyPrimitives(), TorchPrimitives()


def operands(rng: np.random.Generator, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Full-range operands whose first row and column give the largest possible sum."""
    a = rng.integers(0, 256, (3, 5, depth), dtype=np.uint8)
    b = rng.integers(-128, 128, (depth, 7), dtype=np.int8)
    a[0, 0], b[:, 0] = 255, -128
    return a, b


def product(a: np.ndarray, b: np.ndarray, a_zero: int, b_zero: int) -> np.ndarray:
    return (a.astype(np.int64) - a_zero) @ (b.astype(np.int64) - b_zero)


@pytest.mark.parametrize("depth", [1, 3, 64, 513, 514, 515, 4096])
@pytest.mark.parametrize(("a_zero", "b_zero"), [(0, 0), (128, 0), (255, 3)])
def test_matmul_is_exact(depth: int, a_zero: int, b_zero: int) -> None:
    a, b = operands(np.random.default_rng(depth), depth)
    wanted = product(a, b, a_zero, b_zero)
    for got in (
        NUMPY.matmul(a, b, a_zero, b_zero),
        TORCH.matmul(tensor(a), tensor(b), a_zero, b_zero).numpy(),
    ):
        assert got.dtype == np.int32
        assert (got == wanted).all()


def test_matmul_is_exact_under_autocast() -> None:
    a, b = operands(np.random.default_rng(0), 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = TORCH.matmul(tensor(a), tensor(b), 0, 0)
    assert (got.numpy() == product(a, b, 0, 0)).all()


def test_matmul_is_exact_whatever_precision_training_chose() -> None:
    a, b = operands(np.random.default_rng(0), 256)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        got = TORCH.matmul(tensor(a), tensor(b), 7, 0)
    finally:
        torch.set_float32_matmul_precision(before)
    assert (got.numpy() == product(a, b, 7, 0)).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_argmax_takes_the_first_of_equals(axis: int) -> None:
    x = np.random.default_rng(1).integers(0, 3, (4, 6, 40)).astype(np.int32)
    assert (TORCH.argmax(tensor(x), axis).numpy() == x.argmax(axis)).all()
    assert (TORCH.argmax(tensor(x * 0), axis) == 0).all()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("shift", [0, 1, 7, 30])
def test_shifts_and_divisions_floor(dtype: type, shift: int) -> None:
    info = np.iinfo(dtype)
    edges = [
        info.min,
        info.min + 1,
        -(2**shift) - 1,
        -(2**shift),
        -1,
        0,
        1,
        2**shift,
        info.max,
    ]
    x = np.array(edges, dtype)
    wanted = [int(v) >> shift for v in x]
    assert TORCH.floor_shift(tensor(x), shift).tolist() == wanted
    assert NUMPY.floor_shift(x, shift).tolist() == wanted
    positive = x[x > 0]
    divisor = np.full_like(positive, 3)
    wanted = [int(v) // 3 for v in positive]
    assert TORCH.floor_divide(tensor(positive), tensor(divisor)).tolist() == wanted
    assert NUMPY.floor_divide(positive, divisor).tolist() == wanted


def test_lookup_takes_uint8_as_an_index_not_as_a_mask() -> None:
    table = np.arange(256, dtype=np.int16)[::-1].copy()
    index = np.array([0, 1, 2, 255], np.uint8)
    assert TORCH.lookup(tensor(table), tensor(index)).tolist() == [255, 254, 253, 0]


def test_tensors_never_share_memory_with_the_program() -> None:
    array = np.arange(4, dtype=np.int32)
    tensor(array)[0] = 9
    assert array[0] == 0
