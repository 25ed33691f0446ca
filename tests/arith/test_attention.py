"""The base-2 softmax and attention."""

from __future__ import annotations

from typing import Any

import arith_oracles as oracle
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intformer import arith

SEEDS = st.integers(0, 2**32 - 1)
STEPS = np.arange(arith.EXP_STEPS + 1, dtype=np.int32)


def test_weights_of_every_exponent() -> None:
    got = oracle.run(arith.exp2_weight, STEPS)
    assert got.dtype == np.uint8
    assert got.tolist() == [oracle.exp2_weight(int(e)) for e in STEPS]


def test_weights_fall_from_255_to_0_and_never_rise() -> None:
    got = oracle.run(arith.exp2_weight, STEPS).astype(int)
    assert (got[0], got[-1]) == (255, 0)
    assert (np.diff(got) <= 0).all()


def test_weights_are_close_to_powers_of_two() -> None:
    """Half a step of rounding and the quadratic's 0.24 % of the value."""
    got = oracle.run(arith.exp2_weight, STEPS)
    real = 255 * 2.0 ** (-STEPS / 256)
    assert (np.abs(got - real) <= 0.5 + 0.0024 * real).all()


@given(seed=SEEDS, count=st.integers(1, 40), bits=st.integers(1, 21))
@example(seed=0, count=1, bits=1)
@example(seed=1, count=2, bits=21)
def test_softmax_weights(seed: int, count: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-(2**bits), 2**bits, (2, 3, count)).astype(np.int32)
    limit = int(rng.integers(1, 2 ** (bits + 1)))
    multiplier, shift = int(rng.integers(1, 2**30 // limit + 1)), int(rng.integers(1, 31))
    attrs = {"limit": limit, "multiplier": multiplier, "shift": shift}
    got = oracle.run(arith.softmax_weights, scores, **attrs)
    for row, weights in zip(oracle.rows_of(scores), oracle.rows_of(got), strict=True):
        assert weights == oracle.softmax_weights(row, **attrs)
        assert max(weights) == 255


def score_attributes(octaves_per_unit: float) -> dict[str, int]:
    """limit, multiplier and exp_shift for a real score scale, with the full 31 bits in use."""
    per_unit = octaves_per_unit * 256
    limit = min(int(np.ceil((arith.EXP_STEPS + 1) / per_unit)), 2**29)
    shift = max(1, min(30, int(np.floor(np.log2(2**30 / (limit * per_unit))))))
    return {"limit": limit, "multiplier": round(per_unit * 2**shift), "exp_shift": shift}


def attributes(heads: int, seed: int, dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    zeros = {name: int(rng.integers(0, 256)) for name in ("q_zero", "k_zero", "v_zero")}
    shift = int(rng.integers(20, 32))
    return {
        "heads": heads,
        **zeros,
        **score_attributes(2.0 ** -rng.integers(2, 15)),
        "gain": int(rng.integers(2 ** (shift - 2), 2 ** (shift + 1))),
        "offset": int(rng.integers(0, 256) << shift) + 2 ** (shift - 1),
        "shift": shift,
        "dtype": dtype,
    }


def operands(n: int, t: int, s: int, width: int, seed: int) -> tuple[np.ndarray, ...]:
    q = oracle.values("uint8", (n, t, width), seed)
    k = oracle.values("uint8", (n, s, width), seed + 1)
    return q, k, oracle.values("uint8", (n, s, width), seed + 2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
@settings(max_examples=25)
@given(
    seed=SEEDS,
    heads=st.integers(1, 3),
    size=st.integers(1, 9),
    t=st.integers(1, 4),
    s=st.integers(1, 9),
)
@example(seed=0, heads=1, size=1, t=1, s=1)
@example(seed=1, heads=2, size=80, t=2, s=3)
def test_attention(
    masked: bool, dtype: str, seed: int, heads: int, size: int, t: int, s: int
) -> None:
    q, k, v = operands(2, t, s, heads * size, seed)
    mask = np.random.default_rng(seed).integers(0, 2, (2, s)).astype(np.uint8) if masked else None
    attrs = attributes(heads, seed, dtype)
    got = oracle.run(arith.attention, q, k, v, mask, **attrs)
    assert got.dtype == dtype
    assert (got == oracle.attention(q, k, v, mask, **attrs)).all()


@pytest.mark.parametrize("extra", [1, 2, 13, 64])
def test_masked_keys_change_nothing(extra: int) -> None:
    q, k, v = operands(2, 3, 7, 24, 4)
    attrs = attributes(2, 4, "uint8")
    alone = oracle.run(arith.attention, q, k, v, **attrs)
    mask = np.ones((2, 7 + extra), np.uint8)
    mask[:, 7:] = 0
    junk = [oracle.values("uint8", (2, extra, 24), seed) for seed in (5, 6)]
    longer = [np.concatenate(pair, 1) for pair in ((k, junk[0]), (v, junk[1]))]
    assert (oracle.run(arith.attention, q, *longer, mask, **attrs) == alone).all()


def test_any_positive_mask_value_keeps_a_key() -> None:
    q, k, v = operands(1, 2, 4, 8, 0)
    attrs = attributes(1, 0, "uint8")
    ones, mixed = np.array([[1, 0, 1, 1]], np.uint8), np.array([[255, 0, 2, 1]], np.uint8)
    first = oracle.run(arith.attention, q, k, v, ones, **attrs)
    assert (oracle.run(arith.attention, q, k, v, mixed, **attrs) == first).all()


def test_a_row_that_keeps_nothing_averages_all_values() -> None:
    q, k, v = operands(1, 2, 4, 8, 0)
    attrs = {**attributes(1, 0, "uint8"), "v_zero": 0, "gain": 2**30, "offset": 2**29, "shift": 30}
    got = oracle.run(arith.attention, q, k, v, np.zeros((1, 4), np.uint8), **attrs)
    assert np.abs(got - v.mean(1, keepdims=True)).max() <= 1


@pytest.mark.parametrize(("sigma", "bound"), [(0.5, 0.004), (2.0, 0.025), (6.0, 0.02)])
def test_weights_are_close_to_the_real_softmax(sigma: float, bound: float) -> None:
    """Total variation over 197 keys, for logits of standard deviation ``sigma``."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 20000, (400, 197)).round().astype(np.int32)
    attrs = score_attributes(sigma / 20000 / np.log(2))
    attrs["shift"] = attrs.pop("exp_shift")
    weights = oracle.run(arith.softmax_weights, scores, **attrs).astype(np.float64)
    real = np.exp((scores - scores.max(-1, keepdims=True)) * (sigma / 20000))
    difference = weights / weights.sum(-1, keepdims=True) - real / real.sum(-1, keepdims=True)
    assert np.abs(difference).sum(-1).mean() / 2 < bound
