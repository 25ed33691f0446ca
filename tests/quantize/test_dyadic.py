"""Dyadic multipliers are as close to the ratio as their bits allow, and never overflow."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intformer.errors import IntformerError
from intformer.quantize.dyadic import LARGEST_SHIFT, multipliers, offsets, shift_for

RATIOS = st.floats(1e-12, 2.0**28, allow_nan=False)


@given(st.lists(RATIOS, min_size=1, max_size=8), st.booleans())
def test_multipliers_are_the_nearest_and_fit(ratios: list[float], negative: bool) -> None:
    ratio = np.array(ratios) * (-1 if negative else 1)
    shift = shift_for(ratio)
    found = np.broadcast_to(multipliers(ratio, shift), len(ratio))
    assert 1 <= shift <= LARGEST_SHIFT
    assert found.dtype == np.int32
    for real, integer in zip(ratio, found, strict=True):
        assert abs(int(integer)) <= 2**30
        error = abs(Fraction(int(integer), 2**shift) - Fraction(real))
        assert error <= Fraction(1, 2 ** (shift + 1)) + Fraction(abs(real)) / 2**50


@given(RATIOS)
def test_the_largest_ratio_keeps_29_bits(ratio: float) -> None:
    shift = shift_for(ratio)
    (multiplier,) = multipliers(ratio, shift)
    relative = abs(multiplier / 2.0**shift - ratio) / ratio
    if shift < LARGEST_SHIFT and ratio < 2**28:
        assert 2**29 <= multiplier <= 2**30
        assert relative <= 2.0**-30 * 1.01
    assert relative <= max(2.0**-29, 2.0**-32 / ratio * 1.01)


@given(RATIOS, RATIOS)
def test_one_shift_serves_all_ratios(a: float, b: float) -> None:
    assert shift_for(a, np.array([b])) == min(shift_for(a), shift_for(b))


@given(
    st.integers(0, 255),
    st.integers(1, 31),
    st.floats(-(2.0**20), 2.0**20, allow_nan=False),
)
def test_offsets_hold_zero_point_rounding_and_addend(zero: int, shift: int, addend: float) -> None:
    (found,) = offsets(zero, shift, addend)
    exact = Fraction(addend) * 2**shift + zero * 2**shift + 2 ** (shift - 1)
    assert abs(int(found) - exact) <= Fraction(1, 2)


def test_equal_channels_become_one_value() -> None:
    assert multipliers(np.full(7, 0.25), 10).tolist() == [256]
    assert multipliers(np.array([0.25, 0.5]), 10).tolist() == [256, 512]
    assert offsets(3, 4).tolist() == [56]


def test_ratios_of_zero_are_fine() -> None:
    assert shift_for(0.0) == LARGEST_SHIFT
    assert multipliers(0.0, LARGEST_SHIFT).tolist() == [0]


@pytest.mark.parametrize("ratio", [float("nan"), float("inf"), 2.0**29, -1e30])
def test_ratios_that_no_multiplier_expresses(ratio: float) -> None:
    with pytest.raises(IntformerError, match="cannot be expressed"):
        shift_for(np.array([0.5, ratio]))
