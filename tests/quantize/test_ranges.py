"""Which values keep 16 bits, and the activation evaluated in two parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import intformer
from intformer.program import Program
from intformer.quantize.algorithms.clipping import affine_for, signal_to_noise
from intformer.quantize.observers import Histogram


class Massive(nn.Module):
    """A patch layer and an MLP in which one hidden unit is large: always, or now and then."""

    def __init__(self, size: float, rare: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patch = nn.Conv2d(3, 32, 4, 4)
        self.norm = nn.LayerNorm(32)
        self.fc1, self.act, self.fc2 = nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)
        with torch.no_grad():
            self.fc1.weight.mul_(0.3)
            self.fc1.bias[5] = -1.5 * size if rare else size
            if rare:
                self.fc1.weight[5] = size * torch.eye(32)[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        hidden: torch.Tensor = self.fc2(self.act(self.fc1(self.norm(tokens))))
        return hidden


def pixels(seed: int, count: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def program(size: float, rare: bool = False, **recipe: float) -> tuple[Program, Massive]:
    model = Massive(size, rare).eval()
    return intformer.quantize(model, [pixels(0)], {"base": "intformer", **recipe}), model


def error(found: Program, model: Massive) -> float:
    raw = pixels(1)
    output = next(iter(found.scales))
    real = found.run({"pixels": raw})[output] * found.scales[output]["scale"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = ((raw / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.inference_mode():
        exact = model(torch.from_numpy(image)).numpy()
    return float(np.sqrt(((real - exact) ** 2).mean()))


def operators(found: Program) -> list[str]:
    return [node.op for node in found.graph]


def test_rare_massive_activations_keep_16_bits() -> None:
    assert "linear16" in operators(program(60.0, rare=True)[0])
    assert "linear16" not in operators(program(60.0, rare=True, promote_below_db=0.0)[0])


def test_16_bits_pay_beside_a_massive_activation() -> None:
    promoted, model = program(60.0)
    plain, _ = program(60.0, promote_below_db=0.0)
    assert "linear16" in operators(promoted)
    assert error(promoted, model) < 0.25 * error(plain, model)


def test_a_constant_channel_is_no_signal() -> None:
    """Its energy alone would hide that 8 bits leave nothing of the other channels."""
    values = torch.cat([torch.randn(4000), torch.full((1000,), 100.0)])
    histogram = Histogram()
    histogram.update(values[:, None])
    coarse = affine_for(-5.0, 100.0, 8)
    assert signal_to_noise(histogram, coarse) > 45
    assert signal_to_noise(histogram, coarse, 2 * 0.8) < 22
    assert signal_to_noise(histogram, coarse, 1e9) == signal_to_noise(histogram, coarse)


def test_ordinary_activations_stay_narrow() -> None:
    found, _ = program(0.0)
    assert "linear16" not in operators(found)


@pytest.mark.parametrize("size", [3.0, 10.0, 300.0])
def test_two_parts_meet_at_the_bend(size: float) -> None:
    found, model = program(size, promote_below_db=100.0)
    assert "linear16" in operators(found)
    assert error(found, model) < 0.02 * max(size, 3.0)


def test_histogram_sees_every_channel() -> None:
    x = torch.zeros(64, 64, 48)
    x[..., 7] = 9.0
    histogram = Histogram()
    histogram.update(x)
    values, weights = (tensor.numpy() for tensor in histogram.points())
    assert weights[values > 8].sum() / weights.sum() == pytest.approx(1 / 48)


def test_the_twin_of_a_promoted_model_is_its_program() -> None:
    model = Massive(60.0).eval()
    recipe = {"base": "intformer", "promote_below_db": 100.0}
    twin = intformer.prepare(model, [pixels(0)], recipe)
    wanted = intformer.quantize(model, [pixels(0)], recipe)
    raw = pixels(1)
    expected = wanted.run({"pixels": raw})
    found = twin.integers(pixels=raw)
    assert all((found[name] == array).all() for name, array in expected.items())
    assert [n.op for n in intformer.convert(twin).graph] == operators(wanted)
    output = next(iter(wanted.scales))
    real = twin(pixels=raw)[output]
    integers = np.round(real.detach().numpy() / wanted.scales[output]["scale"])
    assert (integers == expected[output]).all()
    real.sum().backward()
    assert twin.parameter_of("fc1.bias").grad[5] != 0  # far above the bend, not clipped there
