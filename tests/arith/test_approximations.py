"""The operators of I-ViT, I-BERT and FQ-ViT against Python integers, and how far off they are."""

from __future__ import annotations

import math
from typing import Any

import approximate_oracles as published
import arith_oracles as oracle
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intformer import arith

SEEDS = st.integers(0, 2**32 - 1)


def grid(steps: float, end: int) -> dict[str, int]:
    """limit, multiplier and shift for scores of which one unit is ``steps`` of the grid."""
    limit, shift = math.ceil((end + 1) / steps), 30
    while limit * round(steps * 2**shift) + 2 ** (shift - 1) >= 2**31:
        shift -= 1
    return {"limit": limit, "multiplier": round(steps * 2**shift), "shift": shift}


def scores_of(seed: int, count: int, bits: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-(2**bits), 2**bits, (2, 3, count)).astype(np.int32)


@pytest.mark.parametrize("unit", [1, 2, 7, 24, 255, 1024])
def test_shift_exp_of_every_distance(unit: int) -> None:
    distance = np.arange(21 * unit + 1, dtype=np.int32)
    got = oracle.run(arith.shift_exp, distance, unit, octaves=15, last=30)
    assert got.tolist() == [published.shift_exp(int(d), unit, 15, 30) for d in distance]
    assert (got[0], got[-1]) == (unit << 15, 0)


def test_shift_exp_is_a_line_of_6_percent_and_a_slope_of_a_third_of_a_percent() -> None:
    """1 - f/2 is at most 6.15 % above 2^-f; 1.4375 is 0.36 % below log2(e)."""
    distance = np.arange(8 * 1024, dtype=np.int32)
    got = oracle.run(arith.shift_exp, distance, 1024, octaves=15, last=30) / (1024 << 15)
    ratio, nats = got / np.exp(-distance / 1024), distance / 1024
    slope = np.exp((math.log2(math.e) - 1.4375) * math.log(2) * nats)
    assert (ratio >= 0.997 * slope).all()
    assert (ratio <= 1.064 * slope).all()


def test_quadratic_exp_of_every_exponent() -> None:
    exponent = np.arange(arith.QUADRATIC_END + 1, dtype=np.int32)
    got = oracle.run(arith.quadratic_exp, exponent)
    assert got.tolist() == [published.quadratic_exp(int(e)) for e in exponent]
    assert (got[0], got[-1]) == (arith.QUADRATIC_TOP, 0)
    real = arith.QUADRATIC_TOP * 2.0 ** (-exponent / 256)
    assert (np.abs(got - real) <= 1.5 + 0.004 * real).all()


@settings(max_examples=40)
@given(
    seed=SEEDS,
    count=st.integers(1, 40),
    bits=st.integers(1, 20),
    unit=st.integers(1, 1024),
    fraction=st.integers(1, 15),
)
@example(seed=0, count=1, bits=1, unit=24, fraction=15)
def test_weights(seed: int, count: int, bits: int, unit: int, fraction: int) -> None:
    scores = scores_of(seed, count, bits)
    spread = float(np.random.default_rng(seed).uniform(0.5, 25))
    exponents = grid(256 * spread / 2**bits, arith.QUADRATIC_END)
    steps = grid(unit * spread / 2**bits, 21 * unit)
    shift = oracle.run(arith.shift_weights, scores, bits=fraction, unit=unit, **steps)
    quadratic = oracle.run(arith.quadratic_weights, scores, bits=fraction, **exponents)
    log2 = oracle.run(arith.log2_weights, scores, **exponents)
    for index, row in enumerate(oracle.rows_of(scores)):
        rows = (array.reshape(-1, count)[index].tolist() for array in (shift, quadratic, log2))
        assert next(rows) == published.shift_weights(row, bits=fraction, unit=unit, **steps)
        assert next(rows) == published.quadratic_weights(row, bits=fraction, **exponents)
        assert next(rows) == published.log2_weights(row, **exponents)


def weights_and_softmax(operator: str, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of Gaussian logits of 197 keys, computed and real."""
    scores = np.random.default_rng(0).normal(0, 20000, (300, 197)).round().astype(np.int32)
    real = np.exp((scores - scores.max(-1, keepdims=True)) * (sigma / 20000))
    per_unit = sigma / 20000
    if operator == "shift":
        attrs: dict[str, Any] = {"bits": 15, "unit": 24, **grid(24 * per_unit, 21 * 24)}
    else:
        attrs = grid(256 / math.log(2) * per_unit, arith.QUADRATIC_END)
        attrs |= {"bits": 15} if operator == "quadratic" else {}
    found = oracle.run(getattr(arith, f"{operator}_weights"), scores, **attrs)
    return found / 2**15, real / real.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("operator", "sigma", "bound"),
    [
        *(("shift", sigma, 0.016) for sigma in (0.5, 2.0, 6.0)),
        *(("quadratic", sigma, 0.003) for sigma in (0.5, 2.0, 6.0)),
        *(("log2", sigma, 0.1) for sigma in (0.5, 2.0, 6.0)),
    ],
)
def test_distance_to_the_real_softmax(operator: str, sigma: float, bound: float) -> None:
    """Mean total variation of a row; a power of two is up to a factor of √2 away."""
    found, real = weights_and_softmax(operator, sigma)
    assert np.abs(found - real).sum(-1).mean() / 2 < bound


@pytest.mark.parametrize("bits", [9, 16, 23, 30])
@given(seed=SEEDS)
def test_newton_root_is_exact(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.minimum((4.0 ** rng.uniform(0, bits, 200)).astype(np.int64), 4**bits - 1)
    squares = rng.integers(1, 2**bits, 100) ** 2
    ends = np.array([1, 2, 3, 4**bits - 1, (2**bits - 1) ** 2, (2**bits - 1) ** 2 - 1])
    x = np.maximum(np.concatenate([x, squares, squares - 1, squares + 1, ends]), 1)
    x = np.minimum(x, 4**bits - 1)
    got = oracle.run(lambda xp, v: arith.newton_sqrt(xp, v, bits), x)
    assert got.tolist() == [math.isqrt(int(v)) for v in x]


def test_the_fixed_start_is_wrong_for_small_variances() -> None:
    """Ten steps from 2^16 end above 64; that is why the start is the bit length."""
    x = np.array([1, 100, 3000], np.int64)
    got = oracle.run(arith.fixed_newton_sqrt, x, 16)
    assert got.tolist() == [published.fixed_newton(int(v), 16) for v in x]
    assert (got > 2 * np.sqrt(x)).sum() >= 2


@pytest.mark.parametrize("start", [0, 16])
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
@settings(max_examples=25)
@given(seed=SEEDS, channels=st.integers(1, 70), eps=st.integers(1, 2**30))
def test_newton_norm(start: int, dtype: str, seed: int, channels: int, eps: int) -> None:
    rng = np.random.default_rng(seed)
    x = oracle.values("int16", (6, channels), seed)
    x[1] = rng.normal(200, 50, channels)
    x[2], x[3] = x[2, 0], np.where(rng.random(channels) < 0.5, -32768, 32767)
    shift = int(rng.integers(20, 40))
    gain = rng.integers(-(2**28), 2**28, channels).astype(np.int32)
    offset = rng.integers(-(2**shift), 2**shift, channels)
    attrs = {"eps": eps, "shift": shift, "dtype": dtype, "start": start}
    got = oracle.run(arith.newton_norm, x, gain, offset, channels=channels, **attrs)
    constants = gain.tolist(), offset.tolist()
    wanted = [published.newton_row(row, *constants, **attrs) for row in oracle.rows_of(x)]
    assert got.tolist() == wanted


@settings(max_examples=40)
@given(seed=SEEDS, columns=st.integers(1, 30), unit=st.integers(1, 100), zero=st.integers(0, 255))
@example(seed=0, columns=1, unit=1, zero=255)
def test_shift_gelu(seed: int, columns: int, unit: int, zero: int) -> None:
    x = oracle.values("uint8", (4, columns), seed)
    attrs: dict[str, Any] = {"zero": zero, "unit": unit, "octaves": 23, "dtype": "uint8"}
    attrs |= {"multiplier": 2**20 // 100, "offset": (17 << 20) + 2**19, "shift": 20}
    got = oracle.run(arith.shift_gelu, x, **attrs)
    assert got.tolist() == [published.shift_gelu_row(row, **attrs) for row in oracle.rows_of(x)]


def test_the_published_gelu_returns_half_of_a_negative_input_beyond_its_range() -> None:
    """At a step of 0.1, GELU(-3) is right beside an 8 and x/2 beside a 12."""
    unit = math.ceil(1 / 0.1702)
    attrs = {"octaves": 23, "zero": 128, "unit": unit, "multiplier": 2**13, "shift": 20}
    attrs |= {"offset": 2**19, "dtype": "int16"}
    for largest, wanted in ((80, 0.0), (120, -1.5)):
        row = np.array([[98, 128 + largest]], np.uint8)
        got = oracle.run(arith.shift_gelu, row, **attrs)[0, 0] * 0.1
        assert abs(got - wanted) < 0.25


@pytest.mark.parametrize("unit", [64, 1024])
def test_the_sigmoid_by_shifts_has_no_range(unit: int) -> None:
    x = np.arange(-21 * unit, 21 * unit + 1, dtype=np.int32)
    got = oracle.run(arith.shift_sigmoid, x, unit) / 2**15
    assert np.abs(got - 1 / (1 + np.exp(-x / unit))).max() < 0.02


def test_quadratic_erf() -> None:
    x = np.arange(-4000, 4001, dtype=np.int32)
    step = 1e-3
    bend, constant = round(1.769 / step), round(1 / (0.2888 * step**2))
    got = oracle.run(arith.quadratic_erf, x, bend=bend, constant=constant) * 0.2888 * step**2
    real = [math.erf(v * step) for v in x]
    wanted = [
        math.copysign(1 - 0.2888 * (1.769 - min(abs(v * step), 1.769)) ** 2, v) for v in x.tolist()
    ]
    assert np.abs(got - wanted).max() < 1e-3
    assert np.abs(got - real).max() < 0.1
