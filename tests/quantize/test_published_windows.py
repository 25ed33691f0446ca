"""The recipes of other papers on attention inside windows: biases, and pairs kept apart."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_models import SelfAttention, Tokens, awake, graph_of, pictures, snr, windowed
from torch import Tensor, nn

import intformer
from intformer import artifact
from intformer.arith import BIAS_LIMIT, EXP_STEPS, QUADRATIC_END, SHIFT_REACH
from intformer.ir.graph import Array, Graph, Node
from intformer.ir.verify import verify
from intformer.program import Program
from intformer.quantize.approx import softmax
from intformer.quantize.approx.choose import Chooser
from intformer.quantize.params import Choice
from intformer.quantize.torch_primitives import run_torch
from intformer.reference import interpret
from intformer.runtime.stored import with_computed_constants

OPERATORS = {
    "i-vit": "biased_shift_attention",
    "i-vit-published": "biased_shift_attention",
    "i-bert": "biased_quadratic_attention",
    "i-bert-published": "biased_quadratic_attention",
    "fq-vit": "biased_log2_attention",
}
RECIPES = ["intformer", *OPERATORS]


@cache
def swin() -> Graph:
    return graph_of(windowed())


@cache
def quantized(recipe: str) -> Program:
    return intformer.quantize(swin(), [pictures(8)], recipe=recipe)


def attentions(program: Program) -> list[Any]:
    return [node for node in program.graph if "attention" in node.op]


def recorded(program: Program, kind: str = "softmax") -> list[dict[str, Any]]:
    found = json.loads(program.graph.metadata.get("operators", "[]"))
    return [entry for entry in found if entry["kind"] == kind]


@pytest.mark.parametrize("recipe", OPERATORS)
def test_windows_have_the_operator_of_the_recipe(recipe: str) -> None:
    program = quantized(recipe)
    assert [node.op for node in attentions(program)] == [OPERATORS[recipe]] * 2
    assert len(recorded(program)) == 2
    assert not [entry for entry in recorded(program) if "asked" in entry]


@pytest.mark.parametrize("recipe", OPERATORS)
def test_programs_are_proved_and_the_same_everywhere(recipe: str) -> None:
    graph, inputs = quantized(recipe).graph, {"pixels": pictures(8, seed=1)}
    verify(graph)
    wanted = interpret(graph, inputs)
    realisations = [quantized(recipe).run(inputs), run_torch(graph, inputs)]
    for flat in (False, True):
        model = artifact.to_onnx(graph, flat=flat).SerializeToString()
        session = onnxruntime.InferenceSession(model)
        realisations.append(dict(zip(wanted, session.run(list(wanted), inputs), strict=True)))
    for found in realisations:
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype and (found[name] == array).all()


def test_what_falls_short_falls_back_and_says_so() -> None:
    recipe = {"base": "i-vit", "fallback_below_db": 60.0}
    program = intformer.quantize(swin(), [pictures(8)], recipe=recipe)
    assert [node.op for node in attentions(program)] == ["biased_attention"] * 2
    for entry in recorded(program):
        assert (entry["operator"], entry["asked"]) == ("exp2", "shiftmax")
        assert "dB on calibration data, below 60" in entry["reason"]


def test_auto_tries_them_and_is_never_worse_than_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, measured = [], Chooser.measured

    def watched(chooser: Chooser, node: Node, name: str) -> Choice:
        choice = measured(chooser, node, name)
        tried.append((node.op, name))
        return choice

    monkeypatch.setattr(Chooser, "measured", watched)
    raw = {"pixels": pictures(8)}
    auto = intformer.quantize(swin(), [raw["pixels"]], recipe="auto")
    assert snr(auto, swin(), raw) >= snr(quantized("intformer"), swin(), raw) - 1e-9
    for name in ("shiftmax", "i-exp", "log2"):
        assert tried.count(("biased_attention", name)) == 2


def test_published_scores_are_calibrated_without_the_pairs_kept_apart() -> None:
    """Swin adds -100 for them; 127 levels for that would leave a unit of 2."""
    for node in attentions(quantized("i-vit-published")):
        assert node.attrs["unit"] >= 8


@pytest.mark.parametrize("added", [-100.0, -1e9, -np.inf])
@pytest.mark.parametrize("operator", ["shiftmax", "shiftmax-published", "i-exp", "log2"])
def test_pairs_kept_apart_have_no_weight(operator: str, added: float) -> None:
    scores = np.random.default_rng(0).normal(0, 2, (4, 8, 16))
    scores[..., 9:] += added
    parameters = (8 / 127,) if operator.endswith("published") else ()
    found = softmax.probabilities(Choice("softmax", operator, parameters), scores, 1.6e-4)
    assert (found[..., 9:] == 0).all()
    assert (found[..., :9].max(-1) > 0.05).all()


class Regions(nn.Module):
    """Attention of 16 tokens in two regions, with a relative position for each pair."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.attention = awake(SelfAttention(), 1)
        for parameter in (*self.attention.q.parameters(), *self.attention.k.parameters()):
            parameter.data *= strength
        region = torch.arange(16) >= 10
        bias = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
        apart = region[:, None] != region[None]
        self.bias = nn.Parameter(bias.masked_fill(apart, -1e9), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        a, (n, t, e) = self.attention, x.shape
        q, k, v = (f(x).view(n, t, 2, e // 2).transpose(1, 2) for f in (a.q, a.k, a.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, self.bias)
        result: Tensor = a.out(mixed.transpose(1, 2).reshape(n, t, e))
        return result


def assert_no_weight(node: Node, bias: Array) -> None:
    """The exponential of a pair kept apart has ended, whatever q and k hold."""
    assert (bias == -BIAS_LIMIT).any()
    apart = BIAS_LIMIT + int(bias.max(-1).min()) - 255 * 255 * 8
    attrs: dict[str, Any] = node.attrs
    half = 1 << (attrs["exp_shift"] - 1)
    steps = (min(apart, attrs["limit"]) * attrs["multiplier"] + half) >> attrs["exp_shift"]
    shifts = SHIFT_REACH * attrs.get("unit", 0)
    ends = {"biased_attention": EXP_STEPS, "biased_shift_attention": shifts}
    assert steps >= ends.get(node.op, QUADRATIC_END)


@pytest.mark.parametrize("strength", [1.0, 0.008], ids=["lively", "faint"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_region_computes_as_if_it_were_alone(recipe: str, strength: float) -> None:
    torch.manual_seed(0)
    graph = graph_of(Tokens(Regions(strength)), "states")
    program = intformer.quantize(graph, [pictures(8)], recipe=recipe)
    (node,) = attentions(program)
    assert node.op == OPERATORS.get(recipe, "biased_attention")
    assert_no_weight(node, with_computed_constants(program.graph).constants[node.inputs[3]])
    images = pictures(4, seed=5)
    other = images.copy()
    other[:, 8:, 8:] = 255 - other[:, 8:, 8:]  # tokens 10, 11, 14 and 15
    one, two = (program.run({"pixels": x})["states"] for x in (images, other))
    assert (one[:, :10] == two[:, :10]).all()
    assert (one[:, 10:] != two[:, 10:]).any()
