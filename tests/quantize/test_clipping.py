"""Ranges of 8-bit activations: what each observer chooses, and that the error is what counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from intformer.ir.graph import Node
from intformer.quantize.algorithms.clipping import affine_for, choose_affine
from intformer.quantize.lowering.unary import apply
from intformer.quantize.observers import Histogram
from intformer.quantize.params import Affine


def histogram(values: np.ndarray) -> Histogram:
    found = Histogram()
    found.update(torch.from_numpy(values.astype(np.float32)))
    return found


def heavy_tailed() -> np.ndarray:
    return np.random.default_rng(2).standard_t(2.2, 20000)


def error(affine: Affine, values: np.ndarray) -> float:
    return float(((affine.dequantize(affine.quantize(values)) - values) ** 2).mean())


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.sampled_from([4, 6, 8]))
def test_a_range_holds_zero_and_its_ends(a: float, b: float, bits: int) -> None:
    low, high = min(a, b), max(a, b)
    affine = affine_for(low, high, bits)
    assert affine.limits == (0, 2**bits - 1)
    assert 0 <= affine.zero_point <= 2**bits - 1
    assert affine.dequantize(affine.quantize(np.zeros(1))) == 0
    ends = np.array([min(low, 0), max(high, 0)])
    assert np.abs(affine.dequantize(affine.quantize(ends)) - ends).max() <= affine.scale * 1.001


def test_minmax_holds_every_value() -> None:
    values = heavy_tailed()
    affine = choose_affine(histogram(values), 8, "minmax", 99.0)
    assert np.abs(affine.dequantize(affine.quantize(values)) - values).max() <= affine.scale


def test_percentile_cuts_the_tails() -> None:
    values = heavy_tailed()
    affine = choose_affine(histogram(values), 8, "percentile", 99.0)
    low, high = affine.dequantize(np.array([0, 255]))
    inside = ((values >= low - affine.scale) & (values <= high + affine.scale)).mean()
    assert 0.985 < inside < 0.998


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_least_error_is_less_than_that_of_the_others(bits: int) -> None:
    values = heavy_tailed()
    seen = histogram(values)
    chosen = {
        observer: error(choose_affine(seen, bits, observer, 99.9), values)
        for observer in ("mse", "minmax", "percentile")
    }
    assert chosen["mse"] < (1.0 if bits == 8 else 0.9) * chosen["minmax"]
    assert chosen["mse"] <= 1.02 * chosen["percentile"]


def test_one_sided_values_use_all_levels() -> None:
    values = np.abs(np.random.default_rng(1).normal(0, 1, 5000))
    affine = choose_affine(histogram(values), 8, "mse", 99.9)
    assert affine.zero_point == 0
    assert affine.quantize(values).max() == 255


def test_the_error_is_that_of_the_function_behind() -> None:
    """GELU is flat far below zero: levels are better spent elsewhere."""
    gelu = Node("gelu", ("x",), ("y",))
    values = np.random.default_rng(3).normal(-4, 3, 20000)
    seen = histogram(values)
    plain = choose_affine(seen, 8, "mse", 99.9)
    aware = choose_affine(seen, 8, "mse", 99.9, lambda x: apply(gelu, x))

    def gelu_error(affine: Affine) -> float:
        rounded = affine.dequantize(affine.quantize(values))
        return float(((apply(gelu, rounded) - apply(gelu, values)) ** 2).mean())

    assert gelu_error(aware) < 0.5 * gelu_error(plain)
    assert aware.scale < plain.scale


@pytest.mark.parametrize("value", [0.0, 3.0, -2.5])
def test_values_that_never_vary(value: float) -> None:
    affine = choose_affine(histogram(np.full(10, value)), 8, "mse", 99.9)
    found = affine.dequantize(affine.quantize(np.array([value])))
    assert found == pytest.approx(value, abs=0.01)
