"""Weights in groups whose products fit int16: always within the budget, and little is lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import encoder, graph_of, pictures, snr

from intformer.ir.graph import Graph
from intformer.ir.lanes import LANE_GROUPS, SAFE_SUM, safe_group
from intformer.quantize import decide
from intformer.quantize.algorithms.gptq import round_weights, weight_snr
from intformer.quantize.algorithms.lanes import (
    _one_by_one,
    _over,
    lane_columns,
    nearest_in_lanes,
    round_lane,
)
from intformer.quantize.api import calibrated, quantize
from intformer.quantize.observers import Covariance
from intformer.quantize.params import IntegerWeight
from intformer.quantize.qat import convert, prepare
from intformer.quantize.recipe import load_recipe

TOP = 127


def layer(out: int, depth: int, tail: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [O, K], heavier-tailed with a larger ``tail``, and correlated inputs [N, K]."""
    random = np.random.default_rng(seed)
    weight = random.normal(0, 1, (out, depth)) * np.exp(tail * random.normal(0, 1, (out, depth)))
    mixing = random.normal(0, 1, (max(depth // 4, 1), depth))
    x = random.normal(0, 1, (4 * depth, len(mixing))) @ mixing
    return torch.from_numpy(weight), torch.from_numpy(x + random.normal(0, 0.1, x.shape))


def rounded(weight: torch.Tensor, x: torch.Tensor, **options) -> IntegerWeight:
    statistics = Covariance()
    statistics.update(x)
    bias = torch.zeros(len(weight), dtype=torch.float64)
    defaults = {"bits": 8, "compensate": True, "correct_bias": True}
    return round_weights(weight, bias, statistics, **{**defaults, **options})


def output_error(found: IntegerWeight, weight: torch.Tensor, x: torch.Tensor) -> float:
    real = torch.from_numpy(found.values * found.scale)
    return float(((x - x.mean(0)) @ (real - weight.T)).square().mean())


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from(LANE_GROUPS),
    compensate=st.booleans(),
    bits=st.sampled_from([6, 8]),
    out=st.integers(1, 12),
    depth=st.integers(1, 70),
    tail=st.floats(0, 3),
    power=st.integers(-6, 6),
    seed=st.integers(0, 2**16),
)
def test_any_weights_end_within_the_budget(
    size: int,
    compensate: bool,
    bits: int,
    out: int,
    depth: int,
    tail: float,
    power: int,
    seed: int,
) -> None:
    weight, x = layer(out, depth, tail, seed)
    weight *= 10.0**power
    if seed % 3 == 0:
        x[:, ::2] = x[:, :1].clone()
    found = rounded(weight, x, lanes=size, compensate=compensate, bits=bits)
    assert found.values.shape == (depth, out) and found.values.dtype == np.int8
    assert safe_group(found.values) >= size
    assert np.abs(found.values).max() <= 2 ** (bits - 1) - 1


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from(LANE_GROUPS),
    reach=st.floats(0.5, 400),
    seed=st.integers(0, 2**16),
)
def test_the_search_is_never_worse_than_the_nearest_point(
    size: int, reach: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    target = torch.from_numpy(random.uniform(-reach, reach, (20, size)))
    factor = torch.from_numpy(np.triu(random.normal(0, 0.4, (size, size)), 1) + np.eye(size))
    found = round_lane(target, factor, TOP)
    positive, negative = found.clamp(min=0).sum(1), (-found).clamp(min=0).sum(1)
    assert float(torch.maximum(positive, negative).max()) <= SAFE_SUM
    assert float(found.abs().max()) <= TOP

    row = torch.zeros(20, 16, dtype=torch.float64)
    columns = lane_columns(16, size)[0]
    row[:, columns] = target
    plain = nearest_in_lanes(row, size, TOP)[:, columns]
    inverse = torch.linalg.inv(factor)

    def cost(w: torch.Tensor) -> torch.Tensor:
        return ((w - target) @ inverse).square().sum(1)

    searched = _over(_one_by_one(target, factor, TOP))
    assert bool((cost(found) <= cost(plain) * (1 + 1e-6) + 1e-6)[searched].all())


def test_pairs_are_as_good_as_the_best_of_all_points() -> None:
    random = np.random.default_rng(3)
    target = torch.from_numpy(random.uniform(-127, 127, (40, 2)))
    factor = torch.tensor([[1.0, 0.4], [0.0, 0.9]], dtype=torch.float64)
    inverse = torch.linalg.inv(factor)
    axis = torch.arange(-TOP, TOP + 1, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    same_sign = points.prod(1) > 0
    points = points[~same_sign | (points.abs().sum(1) <= SAFE_SUM)]
    costs = ((points[None] - target[:, None]) @ inverse).square().sum(-1)
    found = ((round_lane(target, factor, TOP) - target) @ inverse).square().sum(1)
    over = (target.prod(1) > 0) & (target.abs().sum(1) > SAFE_SUM)
    assert int(over.sum()) > 5
    assert bool((found <= 1.001 * costs.amin(1) + 1e-9)[over].all())
    assert float(found.mean()) <= 1.1 * float(costs.amin(1).mean())


@pytest.mark.parametrize("size", LANE_GROUPS)
def test_compensation_beats_nearest_points(size: int) -> None:
    weight, x = layer(24, 150, 0.3, 0)
    plain = output_error(rounded(weight, x, lanes=size, compensate=False), weight, x)
    compensated = output_error(rounded(weight, x, lanes=size), weight, x)
    assert compensated < 0.4 * plain


def test_larger_groups_cost_more_and_none_costs_nothing() -> None:
    weight, x = layer(24, 150, 0.3, 0)
    errors = [output_error(rounded(weight, x, lanes=size), weight, x) for size in (0, 2, 4, 8)]
    assert errors == sorted(errors)
    assert errors[3] < 20 * errors[0]


def groups(graph: Graph) -> dict[str, int]:
    """Layer -> safe group of its weights."""
    layers = (node for node in graph if node.op == "linear")
    return {node.name: safe_group(graph.constants[node.inputs[1]]) for node in layers}


@pytest.mark.parametrize("size", LANE_GROUPS)
def test_a_recipe_asks_for_groups(size: int) -> None:
    model, test = encoder(), {"pixels": pictures(16, 9)}
    program = quantize(model, [pictures(16, 1)], {"weight_groups": size})
    assert set(groups(program.graph).values()) <= {s for s in LANE_GROUPS if s >= size}
    assert snr(program, graph_of(model), test) > 33
    assert json.loads(program.graph.metadata["recipe"])["weight_groups"] == size


def test_layers_are_overridden_one_by_one() -> None:
    recipe = {"weight_groups": 8, "overrides": {r"inner\.1\.q$": {"weight_groups": 0}}}
    found = groups(quantize(encoder(), [pictures(16, 1)], recipe).graph)
    assert {name for name, size in found.items() if size < 8} == {"layers.0.inner.1.q"}


def test_training_keeps_the_groups() -> None:
    twin = prepare(encoder(), [pictures(16, 1)], {"weight_groups": 8})
    inputs = {"pixels": pictures(8, 9)}
    before = convert(twin).graph
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += (
                0.3 * parameter.std() * torch.randn_like(parameter) if parameter.dim() > 1 else 0
            )
    after = convert(twin)
    assert set(groups(before).values()) == set(groups(after.graph).values()) == {8}
    outputs, wanted = twin(**inputs), after.run(inputs)
    for name, affine in after.scales.items():
        assert (np.rint(outputs[name].detach().numpy() / affine["scale"]) == wanted[name]).all()


@pytest.mark.parametrize(("needed", "expected"), [(0.0, {8}), (200.0, {0})])
def test_automatic_groups_depend_on_what_they_cost(
    monkeypatch: pytest.MonkeyPatch, needed: float, expected: set[int]
) -> None:
    monkeypatch.setattr(decide, "GROUPS_FROM_DB", needed)
    recipe = load_recipe({"overrides": {r"inner\.3$": {"activation_bits": 16}}})
    assert recipe.weight_groups == "auto"
    found = calibrated(encoder(), [pictures(16, 1)], recipe)
    names = {node.output: node.name for node in found.graph}
    chosen = {names[output]: weight.lanes for output, weight in found.decisions.weights.items()}
    wide = [name for name in chosen if name.endswith("inner.3")]
    assert [chosen.pop(name) for name in wide] == [0]
    assert set(chosen.values()) == expected


def test_groups_that_cost_too_much_are_given_up() -> None:
    """Each sign has one lane of large weights in every row: the scale would have to be coarse."""
    weight, x = layer(24, 64, 0.0, 0)
    spiky = 0.02 * weight
    spiky[:, lane_columns(64, 8)[0]] = 1.0
    plain, grouped = (rounded(spiky, x, lanes=size) for size in (0, 8))
    statistics = Covariance()
    statistics.update(x)
    lost = weight_snr(spiky, plain, statistics) - weight_snr(spiky, grouped, statistics)
    assert lost > 12
