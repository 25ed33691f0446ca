"""The trainable twin: its forward pass is the program, before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import bert_graph, encoder, graph_of, pictures, sentences

from intformer.program import Program
from intformer.quantize.twin import Twin, convert, prepare

MODELS = ["module", "no biases", "graph", "bert"]


def prepared(case: str) -> tuple[Twin, dict[str, Any]]:
    """A twin and inputs for it."""
    if case == "bert":
        return prepare(bert_graph(), [sentences(16, 1)]), sentences(8, 9)
    model = encoder(bias=case != "no biases")
    source = graph_of(model) if case == "graph" else model
    return prepare(source, [pictures(16, 1)]), {"pixels": pictures(8, 9)}


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
