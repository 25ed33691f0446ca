"""Constants computed from shorter ones, against Python integers."""

from __future__ import annotations

import arith_oracles as oracle
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from intformer import arith

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, factor=st.integers(1, 2**31 - 1), shift=st.integers(1, 62))
@example(seed=0, factor=2**31 - 1, shift=31)
@example(seed=1, factor=1, shift=62)
def test_related_multiplier(seed: int, factor: int, shift: int) -> None:
    most = max(min(2**30, (2**30 << shift) // factor), 2)
    source = np.random.default_rng(seed).integers(-most, most, 40).astype(np.int32)
    rest = oracle.values("int8", (40,), seed)
    got = oracle.run(arith.related_multiplier, source, rest, factor=factor, shift=shift)
    assert got.dtype == np.int32
    half = 2 ** (shift - 1)
    pairs = zip(source.tolist(), rest.tolist(), strict=True)
    assert got.tolist() == [(s * factor + half) // 2**shift + r for s, r in pairs]


@pytest.mark.parametrize("values", ["int16", "int32"])
@pytest.mark.parametrize("pairs", ["uint8", "int16"])
@given(seed=SEEDS, windows=st.integers(1, 3), heads=st.integers(1, 4), keys=st.integers(1, 5))
def test_pair_bias(values: str, pairs: str, seed: int, windows: int, heads: int, keys: int) -> None:
    table = oracle.values(values, (7, heads), seed)
    which = np.random.default_rng(seed).integers(0, 7, (windows, 4, keys)).astype(pairs)
    got = oracle.run(arith.pair_bias, table, which)
    assert (got.dtype, got.shape) == (np.int32, (windows, heads, 4, keys))
    for window, head, query, key in np.ndindex(got.shape):
        assert got[window, head, query, key] == table[which[window, query, key], head]


@given(seed=SEEDS, a=st.integers(1, 4), b=st.integers(1, 4), half=st.integers(1, 5))
@example(seed=0, a=1, b=1, half=1)
def test_turned_positions(seed: int, a: int, b: int, half: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-(2**14), 2**14, (a, 2 * half)).astype(np.int16)
    fine = rng.integers(-(2**14), 2**14, (b, 2 * half), endpoint=True).astype(np.int16)
    residue = rng.integers(0, 256, (a, b, half)).astype(np.uint8)
    rows = int(rng.integers(1, a * b + 1))
    got = oracle.run(arith.turned_positions, coarse, fine, residue, rows=rows, width=2 * half)
    assert (got.dtype, got.shape) == (np.int16, (rows, 2 * half))
    one = 2**arith.TURN_BITS
    for row in range(rows):
        big, small, left = (
            coarse[row // b].tolist(),
            fine[row % b].tolist(),
            residue[row // b, row % b],
        )
        for i in range(half):
            sine = big[i] * small[half + i] + big[half + i] * small[i]
            cosine = big[half + i] * small[half + i] - big[i] * small[i]
            assert got[row, i] == (sine + one // 2) // one + int(left[i]) % 16 - 8
            assert got[row, half + i] == (cosine + one // 2) // one + int(left[i]) // 16 - 8


def test_turned_positions_are_sums_of_angles() -> None:
    """Exact sines and cosines as they are stored: nothing is left but rounding."""
    angle = np.arange(48)[:, None] * np.array([1.0, 0.1, 0.003])
    table = np.concatenate([np.sin(angle), np.cos(angle)], 1)
    coarse = np.round(table[::8] * 26_000).astype(np.int16)
    fine = np.round(table[:8] * 2**arith.TURN_BITS).astype(np.int16)
    residue = np.full((6, 8, 3), 0x88, np.uint8)
    got = oracle.run(arith.turned_positions, coarse, fine, residue, rows=48, width=6)
    assert np.abs(got - table * 26_000).max() < 4
