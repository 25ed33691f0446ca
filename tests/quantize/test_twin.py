"""The trainable twin: its forward pass is the program, before and after training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_models import awake, bert_graph, encoder, graph_of, pictures, sentences, windowed
from torch import nn

from intformer.errors import InputError
from intformer.program import Program
from intformer.quantize.qat import Twin, convert, load_twin, prepare, save_twin, simulate
from intformer.quantize.qat.straight import (
    replaced,
    replaced_learning,
    rounded,
    rounded_learning,
)
from intformer.quantize.recipe import RECIPES

MODELS = ["module", "no biases", "graph", "bert", "four bits", "depthwise", "windows"]


def convolutions() -> nn.Module:
    """An ordinary convolution, a depthwise one, and a classifier."""
    layers = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
    return awake(nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(256, 16)))


def prepared(case: str) -> tuple[Twin, dict[str, Any]]:
    """A twin and inputs for it."""
    if case == "bert":
        return prepare(bert_graph(), [sentences(16, 1)]), sentences(8, 9)
    if case == "windows":
        return prepare(windowed(), [pictures(16, 1)], "i-vit"), {"pixels": pictures(8, 9)}
    model = convolutions() if case == "depthwise" else encoder(bias=case != "no biases")
    source = graph_of(model) if case == "graph" else model
    recipe = "w4a8" if case == "four bits" else "intformer"
    return prepare(source, [pictures(16, 1)], recipe), {"pixels": pictures(8, 9)}


def assert_equal(twin: Twin, program: Program, inputs: dict[str, Any]) -> None:
    """Forward over scale, the simulated integers and the program's are the same."""
    wanted, outputs, simulated = program.run(inputs), twin(**inputs), twin.integers(**inputs)
    for name, affine in program.scales.items():
        integers = outputs[name].detach().double().numpy() / affine["scale"]
        assert (np.rint(integers) == wanted[name]).all()
        assert np.abs(integers - wanted[name]).max() < 0.01
        assert (simulated[name] == wanted[name]).all()
        assert len(np.unique(wanted[name])) > 10


def loss(twin: Twin, inputs: dict[str, Any]) -> torch.Tensor:
    """Distance to a fixed random target."""
    output = next(iter(twin(**inputs).values()))
    target = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return ((output - target) ** 2).mean()


def step(twin: Twin, inputs: dict[str, Any], rate: float = 0.02) -> tuple[float, float]:
    """One step of gradient descent; the loss before and after."""
    twin.zero_grad()
    before = loss(twin, inputs)
    before.backward()
    torch.optim.SGD(twin.parameters(), lr=rate).step()
    with torch.no_grad():
        return float(before), float(loss(twin, inputs))


@pytest.mark.parametrize("case", MODELS)
def test_the_forward_pass_is_the_program(case: str) -> None:
    twin, inputs = prepared(case)
    assert_equal(twin, convert(twin), inputs)


@pytest.mark.parametrize("case", MODELS)
def test_gradients_reach_every_parameter_and_a_step_helps(case: str) -> None:
    twin, inputs = prepared(case)
    before, after = step(twin, inputs)
    assert after < before
    for name, parameter in twin.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        if not name.endswith(("k.bias", "key.bias")):  # the softmax cancels what keys share
            assert bool(parameter.grad.any()), name


@pytest.mark.parametrize("case", MODELS)
def test_a_trained_twin_is_still_its_program(case: str) -> None:
    twin, inputs = prepared(case)
    untrained = convert(twin).run(inputs)
    step(twin, inputs)
    program = convert(twin)
    assert_equal(twin, program, inputs)
    name = next(iter(program.scales))
    assert (program.run(inputs)[name] != untrained[name]).any()


@pytest.mark.parametrize("case", MODELS)
def test_a_checkpoint_restores_the_identical_program(case: str, tmp_path: Path) -> None:
    twin, inputs = prepared(case)
    step(twin, inputs)
    torch.save(twin.state_dict(), tmp_path / "twin.pt")
    convert(twin).save(tmp_path / "a.onnx")
    other, _ = prepared(case)
    other.load_state_dict(torch.load(tmp_path / "twin.pt", weights_only=True))
    convert(other).save(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_parameters_keep_their_names() -> None:
    twin, _ = prepared("module")
    names = set(dict(twin.named_parameters()))
    own = {name for name, _ in encoder().named_parameters()}
    assert len(names & own) >= 0.9 * len(own)


@pytest.mark.parametrize("case", MODELS)
def test_a_twin_file_holds_everything(case: str, tmp_path: Path) -> None:
    """Saved in the middle of a training, it goes on and converts to the identical program."""
    twin, inputs = prepared(case)
    twin.train()
    step(twin, inputs)
    save_twin(twin, tmp_path / "twin.safetensors")
    other = load_twin(tmp_path / "twin.safetensors").train()
    assert state_bytes(other) == state_bytes(twin)
    for one, name in ((twin, "a.onnx"), (other, "b.onnx")):
        step(one, inputs)
        convert(one).save(tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def state_bytes(module: torch.nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("damage", ["text", "foreign", "no state"])
def test_a_damaged_twin_file_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "twin.safetensors"
    if damage == "text":
        path.write_text("nothing of the kind")
    elif damage == "foreign":
        save_file({"weight": torch.ones(3)}, path)
    else:
        save_twin(prepared("module")[0], path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        save_file({"state.fc": torch.ones(3)}, path, metadata=metadata)
    with pytest.raises(InputError, match=r"twin\.safetensors"):
        load_twin(path)


@pytest.mark.parametrize("case", MODELS)
def test_no_state_changes_its_shape(case: str) -> None:
    """Any checkpoint loads at any time: before the first forward pass and after."""
    twin, inputs = prepared(case)
    before = {name: (v.shape, v.dtype) for name, v in twin.state_dict().items()}
    step(twin.train(), inputs)
    assert {name: (v.shape, v.dtype) for name, v in twin.state_dict().items()} == before


def test_ranges_follow_the_data_until_frozen() -> None:
    twin, inputs = prepared("module")
    twin.train()
    bright = {"pixels": 255 - inputs["pixels"] // 4}
    start = scales(twin)
    twin(**bright)
    moved = scales(twin)
    assert sum(moved[name] != start[name] for name in start) > len(start) / 2
    assert_equal(twin.eval(), convert(twin), inputs)
    twin.train().freeze()
    twin(**bright)
    assert scales(twin) == moved


def scales(twin: Twin) -> dict[str, float]:
    return {n: float(v) for n, v in twin.state_dict().items() if n.endswith(":narrow.base")}


def test_ranges_seen_in_calibration_leave_the_scales_alone() -> None:
    """A batch like those of the calibration asks for the scales that calibration chose."""
    twin = prepare(encoder(), [pictures(16, 1)])
    start = scales(twin)
    twin.train().momentum = 0.0
    twin(pixels=pictures(16, 1))
    for name, scale in scales(twin).items():
        assert abs(scale / start[name] - 1) < 0.1, name


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (6, 6), (4, 4)])
def test_learned_scales_are_trained_and_are_the_programs(bits: tuple[int, int]) -> None:
    recipe = {"weight_bits": bits[0], "activation_bits": bits[1]}
    twin = prepare(encoder(), [pictures(16, 1)], recipe, learn_scales=True)
    inputs = {"pixels": pictures(8, 9)}
    before, _ = step(twin.train(), inputs, rate=0.01)  # weights start on the grid of their scale
    _, after = step(twin, inputs, rate=0.01)
    assert after < before
    assert len(twin.scale_parameters()) > 10
    for parameter in twin.scale_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all())
        assert bool(parameter.detach().any())
    assert_equal(twin, convert(twin), inputs)


class SharedNorm(nn.Module):
    """Convolutions whose results are fused into a ReLU, and two heads behind one normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 16, 1))
        self.norm = nn.LayerNorm(16)
        self.heads = nn.ModuleList([nn.Linear(16, 8), nn.Linear(16, 8)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x).flatten(2).transpose(1, 2))
        first, second = self.heads
        return first(x[:, 0]) + second(x[:, 1])


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("case", ["bert", "windows", "depthwise", "shared norm", "module"])
def test_every_parameter_has_a_gradient(case: str, learn: bool) -> None:
    """Otherwise a distributed training stops: each process waits for all gradients."""
    models: dict[str, Any] = {
        "bert": bert_graph,
        "windows": windowed,
        "depthwise": convolutions,
        "shared norm": lambda: awake(SharedNorm()),
        "module": encoder,
    }
    batches = sentences if case == "bert" else lambda n, seed: {"pixels": pictures(n, seed)}
    twin = prepare(models[case](), [batches(16, 1)], learn_scales=learn)
    step(twin, batches(8, 9))
    assert bool(twin.scale_parameters()) == learn
    assert [name for name, value in twin.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("learn", [False, True])
def test_what_is_clipped_has_no_gradient(learn: bool) -> None:
    values = torch.tensor([-3.0, -0.2, 0.1, 0.9, 4.0], requires_grad=True)
    exact, gain = values.detach().clamp(-1, 1), torch.zeros(5, requires_grad=True)
    if learn:
        replaced_learning(values, exact, -1.0, 1.0, gain.sum(), 127).sum().backward()
    else:
        replaced(values, exact, -1.0, 1.0, clipped=True).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [0, 1, 1, 1, 0]

    weight = torch.tensor([[-3.0, 0.5], [0.9, 2.0]], requires_grad=True)
    nearest, reach = weight.detach().clamp(-1, 1), torch.ones(2, 2)
    if learn:
        rounded_learning(
            weight, nearest, reach, torch.zeros(2, requires_grad=True), 7
        ).sum().backward()
    else:
        rounded(weight, nearest, reach).sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [[0, 1], [1, 0]]


def test_the_gradient_of_a_scale_is_that_of_the_rounding() -> None:
    """Against finite differences of the mean over many random numbers."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(200_000, generator=generator, dtype=torch.float64)

    def error(log_gain: float) -> float:
        step = 0.1 * math.exp(log_gain)
        return float(((values / step).round().clamp(-7, 7) * step - values).square().mean())

    gain = torch.zeros((), dtype=torch.float64, requires_grad=True)
    exact = (values / 0.1).round().clamp(-7, 7) * 0.1
    simulated = replaced_learning(values, exact, -0.75, 0.75, gain, 7)
    (simulated - values).square().mean().backward()
    share = (values.numel() * 7) ** -0.5
    wanted = (error(0.02) - error(-0.02)) / 0.04
    assert abs(float(gain.grad) / share / wanted - 1) < 0.05


def test_torch_simulates_the_same_integers_as_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    twin, inputs = prepared("module")
    native = twin(**inputs)["logits"]
    native.sum().backward()
    gradient = twin.parameter_of("layers.4.weight").grad.clone()
    monkeypatch.setattr(simulate, "has_native", lambda: False)
    twin.zero_grad()
    other = twin(**inputs)["logits"]
    other.sum().backward()
    assert (other == native).all()
    assert (twin.parameter_of("layers.4.weight").grad == gradient).all()


def test_a_forward_pass_without_gradients_is_the_same() -> None:
    twin, inputs = prepared("bert")
    wanted = next(iter(twin(**inputs).values())).detach()
    with torch.no_grad():
        assert (next(iter(twin(**inputs).values())) == wanted).all()
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    assert (next(iter(twin(*tensors.values()).values())).detach() == wanted).all()


def test_wrappers_are_looked_through() -> None:
    twin, inputs = prepared("module")
    average = torch.optim.swa_utils.AveragedModel(twin)
    step(twin, inputs)
    average.update_parameters(twin)
    assert_equal(average.module, convert(average), inputs)


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - {"intformer"}))
def test_every_recipe_trains_and_reloads(recipe: str, tmp_path: Path) -> None:
    """Also where the program's operators are not the float model's: shifts and polynomials."""
    twin = prepare(encoder(), [pictures(16, 1)], recipe)
    inputs = {"pixels": pictures(8, 9)}
    before, after = step(twin, inputs, rate=0.01)
    assert after < before
    save_twin(twin, tmp_path / "twin.safetensors")
    program = convert(load_twin(tmp_path / "twin.safetensors"))
    assert_equal(twin, program, inputs)
