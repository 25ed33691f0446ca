"""Integer weights: error-compensating rounding lowers the output error, the bias keeps the mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intformer.errors import IntformerError
from intformer.quantize.algorithms.gptq import round_weights
from intformer.quantize.observers import Covariance
from intformer.quantize.params import IntegerWeight

OUT, IN = 24, 150
"""More columns than one block of the algorithm."""


def layer(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights, biases and correlated, off-centre inputs, float64."""
    random = np.random.default_rng(seed)
    mixing = random.normal(0, 1, (IN // 5, IN)) * random.uniform(0.2, 3, IN)
    x = random.normal(0, 1, (2000, IN // 5)) @ mixing + random.normal(0, 0.1, (2000, IN))
    x += random.normal(0, 2, IN)
    w, b = random.normal(0, 0.1, (OUT, IN)), random.normal(0, 1, OUT)
    return torch.from_numpy(w), torch.from_numpy(b), torch.from_numpy(x)


def statistics(x: torch.Tensor) -> Covariance:
    found = Covariance()
    found.update(x)
    return found


def rounded(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, **options) -> IntegerWeight:
    defaults = {"bits": 8, "compensate": True, "correct_bias": True}
    return round_weights(weight, bias, statistics(x), **{**defaults, **options})


def outputs(found: IntegerWeight, x: torch.Tensor) -> torch.Tensor:
    real = torch.from_numpy(found.values * found.scale)
    return x @ real + torch.from_numpy(found.bias)


def output_error(found: IntegerWeight, layer_: tuple[torch.Tensor, ...]) -> float:
    weight, bias, x = layer_
    return float(((outputs(found, x) - (x @ weight.T + bias)) ** 2).mean())


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_compensation_beats_nearest_rounding(bits: int) -> None:
    seen = layer()
    nearest = output_error(rounded(*seen, bits=bits, compensate=False), seen)
    compensated = output_error(rounded(*seen, bits=bits), seen)
    assert compensated < 0.3 * nearest


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("compensate", [True, False])
def test_integers_stay_in_range_and_use_it(bits: int, compensate: bool) -> None:
    found = rounded(*layer(), bits=bits, compensate=compensate)
    top = 2 ** (bits - 1) - 1
    assert found.values.dtype == np.int8 and found.values.shape == (IN, OUT)
    assert np.abs(found.values).max() == top
    assert (np.abs(found.values).max(0) >= 0.75 * top).all()
    assert (found.scale > 0).all()


@pytest.mark.parametrize("compensate", [True, False])
def test_bias_correction_keeps_the_mean_output(compensate: bool) -> None:
    weight, bias, x = layer()
    wanted = (x @ weight.T + bias).mean(0)
    options = {"bits": 4, "compensate": compensate}
    kept = outputs(rounded(weight, bias, x, **options), x).mean(0)
    drifted = outputs(rounded(weight, bias, x, correct_bias=False, **options), x).mean(0)
    assert float((kept - wanted).abs().max()) < 1e-4
    assert float((drifted - wanted).abs().max()) > 1e-2


def test_without_statistics_weights_are_the_nearest() -> None:
    weight, bias, _ = layer()
    found = round_weights(weight, bias, None, bits=8, compensate=True, correct_bias=True)
    error = np.abs(found.values * found.scale - weight.numpy().T)
    assert (error <= found.scale / 2 * 1.0001).all()
    assert (found.bias == bias.numpy()).all()


def test_inputs_that_are_always_zero_are_harmless() -> None:
    weight, bias, x = layer()
    x[:, ::3] = 0
    found = rounded(weight, bias, x)
    assert output_error(found, (weight, bias, x)) < 1e-3


def test_a_row_of_zeros_stays_zero() -> None:
    weight, bias, x = layer()
    weight[4] = 0
    found = rounded(weight, bias, x)
    assert (found.values[:, 4] == 0).all() and found.bias[4] == bias[4]


def test_scales_have_a_floor_on_request() -> None:
    found = rounded(*layer(), smallest_scale=0.5)
    assert (found.scale == 0.5).all()


@pytest.mark.parametrize("where", ["weight", "bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_checkpoints_are_refused(where: str, value: float) -> None:
    weight, bias, x = layer()
    (weight if where == "weight" else bias)[0] = value
    with pytest.raises(IntformerError, match="NaN or infinity"):
        rounded(weight, bias, x)
