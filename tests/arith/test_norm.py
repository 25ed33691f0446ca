"""The integer square root and the normalisations built on it."""

from __future__ import annotations

import math
from typing import Any

import arith_oracles as oracle
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intformer import arith

SEEDS = st.integers(0, 2**32 - 1)


def roots(values: np.ndarray, bits: int) -> np.ndarray:
    return oracle.run(lambda xp, x: arith.integer_sqrt(xp, x, bits), values)


def test_root_is_exact_below_2_to_the_16() -> None:
    x = np.arange(2**16, dtype=np.int64)
    assert roots(x, 8).tolist() == [math.isqrt(v) for v in range(2**16)]


@pytest.mark.parametrize("bits", [16, 17, 22, 29])
@given(seed=SEEDS)
def test_root_is_exact_up_to_the_widest_norm(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = 4.0 ** rng.uniform(0, bits, 200)
    x = np.minimum(scale.astype(np.int64), 4**bits - 1)
    squares = rng.integers(0, 2**bits, 100) ** 2
    ends = np.array([0, 1, 2, 3, 4**bits - 1, (2**bits - 1) ** 2, (2**bits - 1) ** 2 - 1])
    x = np.concatenate([x, squares, np.maximum(squares - 1, 0), squares + 1, ends])
    x = np.minimum(x, 4**bits - 1)
    assert roots(x, bits).tolist() == [math.isqrt(int(v)) for v in x]


def norm_rows(channels: int, seed: int) -> np.ndarray:
    """Rows of every kind: full range, realistic, constant, one outlier, two levels."""
    rng = np.random.default_rng(seed)
    rows = [
        oracle.values("int16", (channels,), seed),
        rng.normal(300, 900, channels).clip(-32768, 32767),
        np.full(channels, rng.choice([-32768, -1, 0, 1, 32767])),
        np.eye(1, channels, rng.integers(channels))[0] * rng.choice([-32768, 1, 32767]),
        np.where(rng.random(channels) < 0.5, -32768, 32767),
        rng.integers(-1, 2, channels),
    ]
    return np.array(rows).astype(np.int16).reshape(2, 3, channels)


def norm_constants(channels: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """(gain, offset, shift) for which no product passes 2^61 or leaves int32."""
    rng = np.random.default_rng(seed)
    shift = int(rng.integers(20, 50))
    gain = rng.integers(-(2**30), 2**30, channels).astype(np.int32)
    return gain, rng.integers(-(2 ** (shift + 10)), 2 ** (shift + 10), channels), shift


@pytest.mark.parametrize("rms", [False, True], ids=["layer_norm", "rms_norm"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
@given(seed=SEEDS, channels=st.integers(1, 70), eps=st.integers(1, 2**31))
@example(seed=0, channels=1, eps=1)
@example(seed=1, channels=2, eps=1)
@example(seed=2, channels=64, eps=2**31)
@example(seed=3, channels=65, eps=1)
def test_norms(rms: bool, dtype: str, seed: int, channels: int, eps: int) -> None:
    x = norm_rows(channels, seed)
    gain, offset, shift = norm_constants(channels, seed)
    function = arith.rms_norm if rms else arith.layer_norm
    attrs = {"channels": channels, "eps": eps, "shift": shift, "dtype": dtype}
    got = oracle.run(function, x, gain, offset, **attrs)
    assert got.dtype == dtype
    for row, result in zip(oracle.rows_of(x), oracle.rows_of(got), strict=True):
        assert result == oracle.norm_row(
            row, gain.tolist(), offset.tolist(), eps, shift, dtype, rms=rms
        )


@pytest.mark.parametrize("rms", [False, True], ids=["layer_norm", "rms_norm"])
def test_the_widest_rows(rms: bool) -> None:
    x = norm_rows(8192, 5)
    gain, offset, shift = norm_constants(8192, 5)
    function = arith.rms_norm if rms else arith.layer_norm
    attrs = {"channels": 8192, "eps": 2**50, "shift": shift, "dtype": "int16"}
    got = oracle.run(function, x, gain, offset, **attrs)
    for row, result in zip(oracle.rows_of(x), oracle.rows_of(got), strict=True):
        assert result == oracle.norm_row(
            row, gain.tolist(), offset.tolist(), 2**50, shift, "int16", rms=rms
        )


def normalize_to_12_bits(x: np.ndarray, eps: int, function: Any = arith.layer_norm) -> np.ndarray:
    """The operator with unit gain: results in 2^-12 standard deviations."""
    one, half = np.array([2**20], np.int32), np.array([2**19])
    attrs = {"channels": x.shape[-1], "eps": eps, "shift": 20, "dtype": "int32"}
    return oracle.run(function, x, one, half, **attrs)


@pytest.mark.parametrize("channels", [48, 192, 384, 768, 1000])
@pytest.mark.parametrize("deviation", [100, 1000, 8000])
def test_layer_norm_is_close_to_the_real_one(channels: int, deviation: int) -> None:
    """Half a step, the root's floor (1/root) and the reciprocal's rounding (root/2^(r+1))."""
    rng = np.random.default_rng(channels + deviation)
    x = (rng.standard_t(4, (64, channels)) * deviation + 500).clip(-32768, 32767).astype(np.int16)
    got = normalize_to_12_bits(x, 1) / 2**12
    centred = x - x.mean(-1, keepdims=True)
    real = centred / x.std(-1, keepdims=True)
    root = channels * x.std(-1, keepdims=True)
    _, reciprocal = arith.norm_constants(channels)
    bound = 2**-13 + np.abs(real) * (1 / (root - 1) + root / 2 ** (reciprocal + 1))
    assert (np.abs(got - real) <= bound).all()
    assert np.abs(got - real).max() < 2**-10


def test_eps_is_honoured() -> None:
    """With eps three times the variance the row is divided by twice its deviation."""
    x = np.random.default_rng(0).normal(0, 1000, (8, 256)).astype(np.int16)
    energy = 256**2 * x.astype(np.float64).var(-1)
    for row, e in zip(x, energy, strict=True):
        small = normalize_to_12_bits(row[None, :], 1)
        large = normalize_to_12_bits(row[None, :], round(3 * e))
        assert np.abs(small / 2 - large).max() <= 2


def test_a_constant_row_normalises_to_zero() -> None:
    for level in (-32768, 0, 32767):
        x = np.full((1, 96), level, np.int16)
        assert (normalize_to_12_bits(x, 1) == 0).all()


def test_an_8_bit_row_is_the_same_row() -> None:
    x = oracle.values("int8", (4, 96), 0)
    wide = normalize_to_12_bits(x.astype(np.int16), 5)
    assert (normalize_to_12_bits(x, 5) == wide).all()
