"""Each lowering rule: the integers follow the floats, with the operators and bits asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import (
    Apply,
    Residual,
    SelfAttention,
    Tokens,
    awake,
    bert_graph,
    encoder,
    graph_of,
    pictures,
    sentences,
    snr,
)
from torch import nn

from intformer.arith import EXP_STEPS
from intformer.program import Program
from intformer.quantize.api import quantize
from intformer.quantize.approx.softmax import exponent_parameters
from intformer.reference import interpret


def flipped_halves(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, 8:], x[:, :8]], 1)


CASES: dict[str, tuple[nn.Module, ...]] = {
    "linear": (nn.Linear(16, 24),),
    "linear without bias": (nn.Linear(16, 24, bias=False),),
    "gelu": (nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 8)),
    "gelu (tanh)": (nn.Linear(16, 24), nn.GELU("tanh"), nn.Linear(24, 8)),
    "relu": (nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8)),
    "relu of a sum": (Residual(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 8)),
    "tanh": (nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 8)),
    "sigmoid": (nn.Linear(16, 24), nn.Sigmoid(), nn.Linear(24, 8)),
    "silu": (nn.Linear(16, 24), nn.SiLU(), nn.Linear(24, 8)),
    "activation last": (nn.Linear(16, 24), nn.GELU()),
    "layer norm": (nn.LayerNorm(16), nn.Linear(16, 8)),
    "layer norm last": (nn.LayerNorm(16),),
    "rms norm": (nn.RMSNorm(16, eps=1e-6), nn.Linear(16, 8)),
    "norm read twice": (Residual(nn.LayerNorm(16), Residual(nn.Linear(16, 16))),),
    "attention": (Residual(nn.LayerNorm(16), SelfAttention()), nn.LayerNorm(16)),
    "residual": (Residual(nn.Linear(16, 16)), Residual(nn.Linear(16, 16))),
    "scale": (nn.Linear(16, 16), Apply(lambda x: x * 0.37), nn.Linear(16, 8)),
    "mean": (nn.Linear(16, 16), Apply(lambda x: x.mean(1)), nn.Linear(16, 8)),
    "mean, kept": (Apply(lambda x: x + x.mean(1, keepdim=True)), nn.Linear(16, 8)),
    "slice and concat": (Apply(flipped_halves), nn.Linear(16, 8)),
    "class vector": (nn.LayerNorm(16), Apply(lambda x: x[:, 0]), nn.Linear(16, 8)),
    "reshape": (nn.Linear(16, 16), Apply(lambda x: x.flatten(1)), nn.Linear(256, 8)),
}


def model(case: str) -> nn.Module:
    return awake(Tokens(*CASES[case]), 2)


def quantized(module: nn.Module, recipe: Any = "intformer") -> Program:
    return quantize(module, [pictures(24, seed) for seed in (1, 2)], recipe)


@pytest.mark.parametrize("case", CASES)
def test_integers_follow_floats(case: str) -> None:
    graph, test = graph_of(model(case)), {"pixels": pictures(16, 9)}
    program = quantized(model(case))
    assert snr(program, graph, test) > 28
    (name,) = [n for n in program.graph.outputs if n != "label"]
    assert (program.run(test)[name] == interpret(program.graph, test)[name]).all()


def test_token_ids_positions_and_masks() -> None:
    graph, test = bert_graph(), sentences(32, 9)
    program = quantize(graph, [sentences(32, seed) for seed in (1, 2)])
    assert {"embedding", "attention"} <= {node.op for node in program.graph}
    assert snr(program, graph, test, keep=test["attention_mask"] == 1) > 25


class Stem(nn.Module):
    """Two padded convolutions, the second after a ReLU, a third with another activation."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 1, 1)
        self.third, self.activation = nn.Conv2d(12, 16, 4, 4), activation()
        self.head = nn.Linear(16, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.activation(self.second(self.first(x).relu()))
        result: torch.Tensor = self.head(self.third(x).flatten(2).transpose(1, 2))
        return result


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh])
def test_convolutional_stem_with_padding(activation: type[nn.Module]) -> None:
    stem = awake(Stem(activation), 4)
    program = quantized(stem)
    assert snr(program, graph_of(stem), {"pixels": pictures(16, 9)}) > 30


def test_padding_stands_for_the_zero_of_the_float_model() -> None:
    """The border of the image alone: that is where a wrong padding value would show."""
    stem = awake(nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1)), 4)
    graph, test = graph_of(stem), {"pixels": pictures(16, 9)}
    program = quantized(stem)
    keep = np.zeros((16, 8, 16, 16), bool)
    keep[:, :, 0], keep[:, :, :, -1] = True, True
    assert snr(program, graph, test, keep=keep) > 32


def test_relu_after_a_layer_is_a_clip_not_a_table() -> None:
    program = quantized(awake(Stem(), 4))
    assert "table" not in {node.op for node in program.graph}
    tables = [n for n in quantized(model("relu of a sum")).graph if n.op == "table"]
    assert len(tables) == 1


def test_an_override_of_16_bits_uses_the_wide_product() -> None:
    module, test = model("gelu"), {"pixels": pictures(16, 9)}
    graph = graph_of(module)
    recipe = {"overrides": {r"layers\.0$": {"activation_bits": 16}}}
    narrow, wide = quantized(module), quantized(module, recipe)
    kinds = [(n.op, n.name) for n in wide.graph if n.op.startswith("linear")]
    assert ("linear16", "layers.0") in kinds and ("linear", "layers.2") in kinds
    assert "linear16" not in {node.op for node in narrow.graph}
    assert snr(wide, graph, test) > snr(narrow, graph, test)


def test_every_layer_at_16_bits() -> None:
    module, test = encoder(), {"pixels": pictures(16, 9)}
    graph = graph_of(module)
    wide = quantized(module, {"overrides": {".": {"activation_bits": 16}}})
    linears = {n.name: n.op for n in wide.graph if n.op.startswith("linear")}
    assert {name for name, op in linears.items() if op == "linear"} == {"patches"}
    assert snr(wide, graph, test) > snr(quantized(module), graph, test)


@pytest.mark.parametrize(("bits", "floor"), [(6, 18), (4, 6)])
def test_fewer_bits_mean_fewer_levels(bits: int, floor: float) -> None:
    module, top = encoder(), 2**bits - 1
    program = quantized(module, {"activation_bits": bits, "weight_bits": bits})
    graph, proof = program.graph, program.verify()
    for node in graph:
        if node.op == "linear":
            if bits == 6:
                assert np.abs(graph.constants[node.inputs[1]]).max() == 31
            else:
                assert graph.producers()[node.inputs[1]].op == "unpack4"
            if node.name != "patches":
                assert 0.8 * top < proof.ranges[node.inputs[0]][1] <= top
        if node.op == "attention":
            assert all(proof.ranges[value][1] <= top for value in node.inputs)
    assert snr(program, graph_of(module), {"pixels": pictures(16, 9)}) > floor


def test_an_8_bit_residual_costs_accuracy() -> None:
    module, test = encoder(), {"pixels": pictures(16, 9)}
    graph = graph_of(module)
    naive = quantized(module, "naive")
    streams = {graph_.dtype for graph_ in naive.graph.types.values()}
    assert streams - {"int64"} <= {"uint8", "int8", "int32", "int16"}
    assert snr(quantized(module), graph, test) > snr(naive, graph, test) + 1


def test_feature_maps_meet_other_operators_in_the_float_layout() -> None:
    """A sum of two convolutions, and a position table added before the patches become tokens."""

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(3, 8, 4, 4)
            self.table = nn.Parameter(torch.zeros(1, 8, 4, 4))
            self.norm, self.head = nn.LayerNorm(4), nn.Linear(16, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = self.norm(self.a(x) + self.b(x) * 0.7 + self.table)
            result: torch.Tensor = self.head(maps.flatten(2))
            return result

    maps = awake(Maps(), 4)
    assert snr(quantized(maps), graph_of(maps), {"pixels": pictures(16, 9)}) > 28


def test_a_convolution_may_follow_a_normalisation() -> None:
    module = awake(nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(4), nn.Conv2d(8, 8, 2, 2)))
    program, test = quantized(module), {"pixels": pictures(16, 9)}
    assert snr(program, graph_of(module), test) > 28


@given(st.floats(1e-9, 5000), st.sampled_from([8, 32, 64, 128]), st.booleans())
def test_exponents_fit_and_reach_their_end(steps: float, size: int, masked: bool) -> None:
    reach = 255 * 255 * size
    largest = 2**30 - reach if masked else 2 * reach
    limit, multiplier, shift = exponent_parameters(steps, largest, EXP_STEPS, must_end=masked)
    half = 2 ** (shift - 1)
    assert 1 <= limit <= largest and multiplier >= 1 and 1 <= shift <= 30
    assert limit * multiplier + half < 2**31
    if masked:
        assert (limit * multiplier + half) >> shift >= EXP_STEPS
    distance = min(limit, 2 * reach)
    exact = min(distance * steps, EXP_STEPS)
    found = min((distance * multiplier + half) >> shift, EXP_STEPS)
    assert abs(found - exact) <= 0.004 * exact + distance / 2**18 + 1
