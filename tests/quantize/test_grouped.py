"""Weights of 4 bits with a multiplier per group: they factor, they pack, and groups pay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intformer import arith
from intformer.errors import IntformerError
from intformer.quantize.algorithms.grouped import HIGH, LARGEST, LOW, round_groups
from intformer.quantize.observers import Covariance
from intformer.quantize.params import IntegerWeight
from intformer.reference.primitives import NumpyPrimitives

OUT, IN = 20, 150
Layer = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def layer() -> Layer:
    """Weights whose size varies along the inputs, biases, and correlated, off-centre inputs."""
    random = np.random.default_rng(0)
    mixing = random.normal(0, 1, (IN // 5, IN)) * random.uniform(0.2, 3, IN)
    x = random.normal(0, 1, (2000, IN // 5)) @ mixing + random.normal(0, 2, IN)
    w = random.normal(0, 0.1, (OUT, IN)) * np.repeat(random.uniform(0.2, 2, IN // 30), 30)
    return torch.from_numpy(w), torch.from_numpy(random.normal(0, 1, OUT)), torch.from_numpy(x)


def rounded(seen: Layer, group: int = 32, compensate: bool = True) -> IntegerWeight:
    weight, bias, x = seen
    statistics = Covariance()
    statistics.update(x)
    options = {"compensate": compensate, "correct_bias": True}
    return round_groups(weight, bias, statistics, group=group, **options)


def output_error(found: IntegerWeight, seen: Layer) -> float:
    weight, bias, x = seen
    outputs = x @ torch.from_numpy(found.values * found.scale) + torch.from_numpy(found.bias)
    return float(((outputs - (x @ weight.T + bias)) ** 2).mean())


@pytest.mark.parametrize("group", [0, 32, 64])
@pytest.mark.parametrize("compensate", [False, True])
def test_values_are_levels_times_multipliers(group: int, compensate: bool) -> None:
    found = rounded(layer(), group, compensate)
    assert found.multiplier is not None and (found.multiplier != 0).all()
    assert found.group == (group or IN)
    assert (found.levels * found.factors == found.values).all()
    assert found.levels.min() == LOW and found.levels.max() == HIGH
    largest = np.abs(found.multiplier).max(1)
    assert (largest == 1).all() if group == 0 else (largest > LARGEST // 2).all()
    assert np.abs(found.values.astype(int)).max() <= 127


@pytest.mark.parametrize("group", [0, 32, 64, 128])
def test_packed_weights_expand_to_the_values(group: int) -> None:
    found = rounded(layer(), group)
    expanded = arith.unpack4(NumpyPrimitives(), found.packed, found.multiplier, rows=IN)
    assert expanded.dtype == np.int8
    np.testing.assert_array_equal(expanded, found.values)


def test_groups_and_compensation_lower_the_output_error() -> None:
    seen = layer()
    errors = {
        (group, compensate): output_error(rounded(seen, group, compensate), seen)
        for group in (0, 32)
        for compensate in (False, True)
    }
    assert errors[32, False] < 0.6 * errors[0, False]
    assert errors[32, True] < 0.3 * errors[32, False]
    assert errors[32, True] < 0.6 * errors[0, True]


def test_a_multiplier_may_be_negative_where_that_uses_the_longer_side() -> None:
    weight = torch.zeros(1, 64, dtype=torch.float64)
    weight[0, 3], weight[0, 40] = 0.8, -0.8
    found = round_groups(
        weight, torch.zeros(1), None, group=32, compensate=False, correct_bias=False
    )
    assert found.multiplier is not None
    assert found.multiplier[0, 0] < 0 < found.multiplier[0, 1]
    assert (found.values[3] == -found.values[40]).all() and found.levels[3] == LOW


def test_a_bias_bounds_the_scale_from_below() -> None:
    weight, bias, _ = layer()
    options = {"compensate": False, "correct_bias": False}
    found = round_groups(weight, bias, None, group=32, smallest_scale=0.5, **options)
    assert (found.scale >= 0.5).all()


def test_weights_that_are_no_numbers_are_refused() -> None:
    weight, bias, x = layer()
    weight[0, 0] = torch.nan
    with pytest.raises(IntformerError, match="NaN"):
        rounded((weight, bias, x))
