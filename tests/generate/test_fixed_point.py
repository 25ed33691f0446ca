"""Fixed-point log-sum-exp against exact and high-precision arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intformer.errors import InputError
from intformer.generate.fixed_point import (
    LogitScale,
    exp2_table,
    log2,
    log2_table,
    log_probabilities,
    weights,
)

ONE = 1 << 16


def test_tables_are_the_rounded_functions():
    i = np.arange(257)
    assert np.abs(exp2_table() - np.exp2(30 - i / 256)).max() <= 0.5 + 1e-6
    assert np.abs(log2_table() - 2.0**40 * np.log2(1 + i / 256)).max() <= 0.51
    assert exp2_table()[0] == 1 << 30 and exp2_table()[256] == 1 << 29


@given(st.integers(0, 40 * ONE))
def test_weights_follow_the_power_of_two(octaves):
    made = int(weights(np.array([octaves]))[0])
    exact = 2.0 ** (30 - octaves / ONE)
    assert abs(made - exact) <= 0.5 + 1.0e-6 * exact


@given(st.integers(1, 2**61))
def test_log2_is_right_to_a_unit(total):
    made = int(log2(np.array([total]))[0])
    assert abs(made - ONE * np.log2(np.float128(total))) <= 0.7


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=300),
    st.floats(1e-4, 0.5),
)
def test_log_probabilities_are_within_the_documented_bound(row, scale):
    logits = np.array([row], np.int16)
    made = log_probabilities(logits, LogitScale.of(scale))[0]
    x = np.array(row, np.longdouble) * np.longdouble(scale) * np.log2(np.exp(np.longdouble(1)))
    exact = x - x.max() - np.log2(np.exp2(x - x.max()).sum())
    bound = 3 + np.abs(x - x.max()) * 2.0**-14 + len(row) * 2.0**-14
    assert (np.abs(made / ONE - exact) * ONE <= bound).all()
    assert made.max() <= 0


def test_rows_do_not_see_each_other():
    random = np.random.default_rng(3)
    logits = random.integers(-9000, 9000, (5, 999)).astype(np.int16)
    together = log_probabilities(logits, LogitScale.of(0.003))
    for row, made in zip(logits, together, strict=True):
        assert np.array_equal(log_probabilities(row[None], LogitScale.of(0.003))[0], made)


@given(st.fractions(Fraction(1, 10**6), Fraction(10)))
def test_scale_is_dyadic_to_31_bits(scale):
    found = LogitScale.of(scale)
    assert 2**30 <= found.multiplier <= 2**31
    exact = scale * Fraction(1.4426950408889634) * ONE
    assert abs(Fraction(found.multiplier, 2**found.shift) / exact - 1) < Fraction(1, 2**30)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-30, 1e30])
def test_impossible_scales_are_refused(scale):
    with pytest.raises(InputError, match="scale"):
        LogitScale.of(scale)
