"""The recipes of other papers: their programs, where they fall back, and what is recorded."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from small_models import (
    Tokens,
    bert_graph,
    encoder,
    float_outputs,
    graph_of,
    pictures,
    sentences,
    snr,
    windowed,
)
from torch import nn

import intformer
from intformer import artifact
from intformer.ir.graph import Array, Graph
from intformer.ir.verify import verify
from intformer.program import Program
from intformer.quantize.api import IMAGENET
from intformer.quantize.approx import gelu, norm, softmax
from intformer.quantize.approx.search import Search
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.params import Affine, Choice
from intformer.quantize.samples import float_inputs
from intformer.reference import interpret

RECIPES = ["i-vit", "i-vit-published", "i-bert", "i-bert-published", "fq-vit"]


@cache
def transformer() -> Graph:
    return graph_of(encoder())


@cache
def windows() -> Graph:
    return graph_of(windowed())


bert = cache(bert_graph)


def operators(program: Program) -> set[str]:
    return {node.op for node in program.graph}


def recorded(program: Program) -> list[dict[str, Any]]:
    return list(json.loads(program.graph.metadata.get("operators", "[]")))


@pytest.mark.parametrize(
    ("model", "bits"),
    [*((transformer, bits) for bits in ((8, 8), (6, 6), (4, 8), (4, 4))), (windows, (4, 4))],
)
@pytest.mark.parametrize("recipe", [*RECIPES, "intformer", "auto"])
def test_programs_of_every_recipe_are_proved_and_the_same_everywhere(
    model: Callable[[], Graph], recipe: str, bits: tuple[int, int]
) -> None:
    images = pictures(4)
    widths = {"weight_bits": bits[0], "activation_bits": bits[1], "auto_seconds": 2}
    program = intformer.quantize(model(), [images], recipe={"base": recipe, **widths})
    verify(program.graph)
    wanted = interpret(program.graph, {"pixels": images})
    for name, array in program.run({"pixels": images}).items():
        assert (array == wanted[name]).all()
    for flat in (False, True):
        content = artifact.to_onnx(program.graph, flat=flat).SerializeToString()
        found = onnxruntime.InferenceSession(content).run(list(wanted), {"pixels": images})
        for array, expected in zip(found, wanted.values(), strict=True):
            assert array.dtype == expected.dtype and (array == expected).all()


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        ("i-vit", {"shift_attention", "newton_norm", "table"}),
        ("i-vit-published", {"shift_attention", "newton_norm", "shift_gelu"}),
        ("i-bert", {"quadratic_attention", "newton_norm", "table"}),
        ("fq-vit", {"log2_attention", "layer_norm"}),
    ],
)
def test_recipes_take_their_operators(recipe: str, wanted: set[str]) -> None:
    program = intformer.quantize(transformer(), [pictures(8)], recipe=recipe)
    published = {"attention", "layer_norm", "newton_norm", "shift_gelu"} - wanted
    assert wanted <= operators(program)
    assert not published & operators(program)
    assert not [entry for entry in recorded(program) if "asked" in entry]


def test_an_override_chooses_for_one_layer() -> None:
    graph = transformer()
    layer = next(node.name for node in graph if node.op == "layer_norm")
    recipe = {"base": "i-vit", "overrides": {f"^{layer}$": {"norm": "exact"}}}
    program = intformer.quantize(graph, [pictures(8)], recipe=recipe)
    assert [node.name for node in program.graph if node.op == "layer_norm"] == [layer]


def similarity(graph: Graph, program: Program, images: Array) -> float:
    (exact,) = float_outputs(graph, {"pixels": images}).values()
    scale = json.loads(program.graph.metadata["scales"])["logits"]["scale"]
    found = program.run({"pixels": images})["logits"] * scale
    return float((exact * found).sum() / np.linalg.norm(exact) / np.linalg.norm(found))


class Wide(nn.Module):
    """An MLP whose GELU sees values of up to 24."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.fc1.weight.data *= 14

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm(x))))


def wide_graph() -> tuple[Graph, float]:
    """The graph, and the largest pre-activation on the calibration images."""
    torch.manual_seed(0)
    graph = graph_of(Tokens(Wide(), Wide()))
    before = [node.inputs[0] for node in graph if node.op == "gelu"]
    raw = float_inputs(graph, {"pixels": pictures(16)}, IMAGENET)
    values = FloatRunner(graph).run(raw, keep=before)
    return graph, max(float(values[name].max()) for name in before)


def test_wide_activations_stay_close_with_i_vit_and_not_as_published() -> None:
    graph, largest = wide_graph()
    assert 18 < largest < 40
    images, programs = pictures(16), {}
    for recipe in ("intformer", "i-vit", "i-vit-published"):
        programs[recipe] = intformer.quantize(graph, [images], recipe=recipe)
    ours, theirs, published = (similarity(graph, p, images) for p in programs.values())
    assert "shift_gelu" in operators(programs["i-vit-published"])
    assert theirs > ours - 0.02
    assert published < ours - 0.02


def test_what_falls_short_falls_back_and_says_so() -> None:
    recipe = {"base": "i-vit", "fallback_below_db": 60.0}
    program = intformer.quantize(transformer(), [pictures(8)], recipe=recipe)
    assert {"attention", "newton_norm"} <= operators(program)
    entries = [entry for entry in recorded(program) if "asked" in entry]
    assert {entry["asked"] for entry in entries} == {"shiftmax", "shiftgelu"}
    for entry in entries:
        assert entry["operator"] in ("exp2", "exact")
        assert "dB on calibration data, below 60" in entry["reason"]


def test_published_recipes_stay_as_published_however_bad() -> None:
    torch.manual_seed(0)
    block = Wide()
    block.fc1.weight.data /= 14
    block.fc1.bias.data -= 6  # what GELU makes of that is close to nothing
    graph = graph_of(Tokens(block))
    recipe = {"base": "i-vit-published", "activation_bits": 4, "rounding": "nearest"}
    program = intformer.quantize(graph, [pictures(16)], recipe=recipe)
    found = [entry for entry in recorded(program) if entry["kind"] == "gelu"]
    assert min(entry["snr_db"] for entry in found) < 0
    assert {entry["operator"] for entry in found} == {"shiftgelu-published"}


def test_published_shiftmax_leaves_masked_attention_to_ours() -> None:
    program = intformer.quantize(bert(), [sentences(8)], recipe="i-vit-published")
    reasons = [entry["reason"] for entry in recorded(program) if "asked" in entry]
    assert "it cannot drop masked keys" in reasons
    assert "attention" in operators(program)


@pytest.mark.parametrize("recipe", ["i-vit", "fq-vit"])
def test_padding_never_changes_a_result(recipe: str) -> None:
    program = intformer.quantize(bert(), [sentences(8)], recipe=recipe)
    inputs = sentences(4, seed=1)
    whole = next(iter(program.run(inputs).values()))
    longer = {
        name: np.concatenate([array, np.zeros_like(array[:, :3])], 1)
        for name, array in inputs.items()
    }
    padded = next(iter(program.run(longer).values()))
    if padded.ndim == 3:
        padded = padded[:, : whole.shape[1]]
        keep = inputs["attention_mask"] > 0
        assert (padded[keep] == whole[keep]).all()
    else:
        assert (padded == whole).all()


@pytest.mark.parametrize("operator", ["shiftgelu", "i-gelu"])
@pytest.mark.parametrize("largest", [0.5, 4.0, 24.0])
def test_tables_are_close_to_gelu_at_any_range(operator: str, largest: float) -> None:
    """Within 0.04 and half a step, whatever the range; the published one fails beyond 8."""
    source = Affine(2 * largest / 255, 128, "uint8")
    exact = gelu.exact(source.dequantize(np.arange(256)))
    found = gelu.approximated(operator, source, Affine(largest / 32767, 0, "int16"))
    assert np.abs(found - exact).max() < 0.04
    row = gelu.approximated("shiftgelu-published", source, Affine(largest / 32767, 0, "int16"))
    if largest > 9:
        assert np.abs(row - exact).max() > 1


@pytest.mark.parametrize("keys", [1, 197, 8000])
def test_shiftmax_has_no_temperature_error(keys: int) -> None:
    made = softmax.grid(Choice("softmax", "shiftmax"), 0.00123, keys)
    assert made.attrs["unit"] * keys << 15 < 2**31
    assert made.steps / made.attrs["unit"] == pytest.approx(0.00123, rel=1e-12)
    published = softmax.grid(Choice("softmax", "shiftmax-published", (0.3,)), 0.00123, 197)
    assert published.steps / published.attrs["unit"] == pytest.approx(0.00123 / 0.3 / 4)


def test_power_of_two_factors_hold_every_channel() -> None:
    largest = np.array([0.1, 1.0, 2.0, 3.9, 8.0])
    scale, *exponents = norm.powers_of_two(largest)
    assert exponents == [0, 0, 1, 2, 3]
    assert (scale * 127 * 2.0 ** np.array(exponents) >= largest * (1 - 1e-9)).all()


def test_auto_is_never_worse_than_ours_on_its_data_and_records_choices() -> None:
    graph, images = transformer(), pictures(8)
    ours = intformer.quantize(graph, [images], recipe="intformer")
    program = intformer.quantize(graph, [images], recipe="auto")
    raw = {"pixels": images}
    assert snr(program, graph, raw) >= snr(ours, graph, raw) - 1e-9
    assert {entry["kind"] for entry in recorded(program)} == {"softmax", "gelu", "norm"}


def test_auto_keeps_to_its_time() -> None:
    recipe = {"base": "auto", "auto_seconds": 0.0}
    program = intformer.quantize(transformer(), [pictures(8)], recipe=recipe)
    assert {entry["reason"] for entry in recorded(program)} == {"not measured within 0 s"}
    assert not any("newton" in op or "shift" in op for op in operators(program))


def test_auto_stops_in_the_middle_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once a question: the first layers are measured, the others keep ours."""
    ticks = itertools.count(0.0)
    clocked = partial(Search, clock=lambda: next(ticks))
    monkeypatch.setattr("intformer.quantize.api.Search", clocked)
    recipe = {"base": "auto", "auto_seconds": 6.5}
    program = intformer.quantize(transformer(), [pictures(8)], recipe=recipe)
    reasons = [entry.get("reason", "") for entry in recorded(program)]
    late = "not measured within 6.5 s"
    assert 0 < reasons.count(late) < len(reasons)
    assert reasons == sorted(reasons, key=lambda reason: reason == late)


@pytest.mark.parametrize("recipe", ["i-vit", "i-bert"])
def test_the_mean_error_of_an_operator_is_taken_from_the_bias_behind_it(recipe: str) -> None:
    graph, images = transformer(), pictures(16)
    raw = {"pixels": images}
    plain = {"base": recipe, "bias_correction": False}
    found = [
        snr(intformer.quantize(graph, [images], recipe=r), graph, raw) for r in (plain, recipe)
    ]
    assert found[1] > found[0] + 1
