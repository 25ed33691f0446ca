"""Matrix products, gathers and windows, against Python integers and plain loops."""

from __future__ import annotations

import arith_oracles as oracle
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intformer import arith

SEEDS = st.integers(0, 2**32 - 1)


def exact_product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, zero: int = 0) -> np.ndarray:
    return (x.astype(object) - zero) @ weight.astype(object) + bias.astype(object)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
@given(
    seed=SEEDS,
    depth=st.integers(1, 70),
    width=st.integers(1, 20),
    lead=st.sampled_from([(1,), (3,), (2, 5), (2, 1, 3)]),
    zero=st.integers(0, 255),
)
@example(seed=0, depth=1, width=1, lead=(1,), zero=0)
@example(seed=1, depth=64, width=16, lead=(2, 5), zero=255)
def test_linear(
    dtype: str, seed: int, depth: int, width: int, lead: tuple[int, ...], zero: int
) -> None:
    x = oracle.values("uint8", (*lead, depth), seed)
    weight = oracle.values("int8", (depth, width), seed + 1)
    bias = oracle.values(dtype, (width,), seed + 2) // 2
    got = oracle.run(arith.linear, x, weight, bias, x_zero=zero)
    assert got.dtype == np.int32
    assert (got == exact_product(x, weight, bias, zero)).all()


@pytest.mark.parametrize("depth", [512, 513, 514, 515, 4096])
@pytest.mark.parametrize("weight", [-128, 127])
def test_linear_at_the_limits_of_float32(depth: int, weight: int) -> None:
    """255·128·514 is the first product sum at or above 2^24; odd sums follow it."""
    x = np.full((2, depth), 255, np.uint8)
    x[1, 0] = 254
    w = np.full((depth, 1), weight, np.int8)
    w[-1] = weight + 1 if weight < 0 else weight - 1
    got = oracle.run(arith.linear, x, w, np.array([1], np.int32), x_zero=0)
    assert (got == exact_product(x, w, np.array([1]))).all()


@given(seed=SEEDS, depth=st.integers(1, 70), width=st.integers(1, 20))
@example(seed=0, depth=1, width=1)
def test_linear16(seed: int, depth: int, width: int) -> None:
    x = oracle.values("int16", (2, 3, depth), seed)
    weight = oracle.values("int8", (depth, width), seed + 1)
    bias = oracle.values("int32", (width,), seed + 2) // 4
    got = oracle.run(arith.linear16, x, weight, bias)
    assert got.dtype == np.int32
    assert (got == exact_product(x, weight, bias)).all()


def test_linear16_is_exact_for_every_int16() -> None:
    x = np.arange(-32768, 32768).astype(np.int16)[:, None]
    for weight in (-128, -1, 1, 127):
        got = oracle.run(arith.linear16, x, np.array([[weight]], np.int8), np.array([0], np.int32))
        assert (got == x.astype(np.int64) * weight).all()


@pytest.mark.parametrize("dtype", ["int16", "int8", "uint8"])
@given(seed=SEEDS, shift=st.integers(8, 40), columns=st.integers(1, 17))
@example(seed=0, shift=62, columns=1)
def test_embedding(dtype: str, seed: int, shift: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    table = oracle.values("int8", (11, columns), seed)
    multiplier = rng.integers(-(2**31), 2**31, 11, dtype=np.int64).astype(np.int32)
    ids = rng.integers(0, 11, (2, 5))
    got = oracle.run(arith.embedding, ids, table, multiplier, shift=shift, dtype=dtype)
    assert got.dtype == dtype
    for index, row in zip(ids.ravel(), oracle.rows_of(got), strict=True):
        products = [int(v) * int(multiplier[index]) for v in table[index]]
        assert row == [oracle.rescaled(p + 2 ** (shift - 1), shift, dtype) for p in products]


@given(
    seed=SEEDS,
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    channels=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padded=st.tuples(st.booleans(), st.booleans()),
)
@example(seed=0, size=(3, 3), channels=1, kernel=(3, 3), stride=(1, 1), padded=(False, False))
@example(seed=1, size=(8, 8), channels=3, kernel=(2, 2), stride=(2, 2), padded=(False, False))
@example(seed=2, size=(5, 7), channels=3, kernel=(3, 2), stride=(2, 1), padded=(True, True))
def test_patches(
    seed: int,
    size: tuple[int, int],
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padded: tuple[bool, bool],
) -> None:
    padding = tuple(k - 1 if p else 0 for k, p in zip(kernel, padded, strict=True))
    x = oracle.values("uint8", (2, *size, channels), seed)
    pad = oracle.values("uint8", (channels,), seed + 1)
    got = oracle.run(
        arith.patches, x, pad, size=size, kernel=kernel, stride=stride, padding=padding
    )
    assert got.dtype == np.uint8
    assert (got == oracle.patches(x, pad, kernel, stride, padding)).all()
