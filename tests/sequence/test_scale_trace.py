"""Scale Propagation made visible: dyadic scales, and what becomes of them in a program."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from small_sequence_models import pairs, translation_program, translator, translator_graph

from intformer.evaluate.scale_trace import requantizations, scale_text, scale_trace
from intformer.ir.meanings import recorded_meanings
from intformer.ir.stored import STORED_NAMES
from intformer.quantize.api import quantize
from intformer.quantize.dyadic import dyadic_scale
from intformer.quantize.recipe import load_recipe

VARIANT = "integer-transformer"


@pytest.fixture(scope="module")
def program():
    graph = translator_graph(translator(VARIANT))
    return quantize(graph, [pairs(8, seed) for seed in range(4)], recipe="integer-transformer")


def test_dyadic_scales_are_the_next_larger_ones() -> None:
    scale = np.array([1.0, 0.3, 1.0001, 255 / 256, 3e-5])
    found = dyadic_scale(scale, 8)
    for before, after in zip(scale, found, strict=True):
        exact = Fraction(after)
        assert exact.numerator < 2**8 and 0 <= after / before - 1 <= 2**-7
    assert found[0] == 1.0 and found[3] == 255 / 256


def test_every_scale_of_the_recipe_is_dyadic(program) -> None:
    recorded = recorded_meanings(program.graph)
    assert recorded.equalized
    scales = [each.scale for each in (*recorded.compared.values(), *recorded.equalized)]
    scales.append(program.scales["logits"]["scale"])
    assert len(scales) > 30
    assert all(Fraction(scale).numerator < 2**8 for scale in scales)
    assert load_recipe("integer-transformer").scale_bits == 8


def test_the_recipe_is_near_the_default(program) -> None:
    batch = pairs(6, 77)
    both = [
        p.run(batch)["logits"] * p.scales["logits"]["scale"]
        for p in (program, translation_program(VARIANT))
    ]
    assert 10 * np.log10((both[1] ** 2).mean() / ((both[0] - both[1]) ** 2).mean()) > 24


def test_products_of_scales_are_followed_through_the_program(program) -> None:
    steps = scale_trace(program.graph)
    assert len(steps) == sum(node.op not in STORED_NAMES for node in program.graph)
    assert not any("?" in (*step.operands, step.result) for step in steps if step.op != "linear")
    added = [step for step in steps if step.event == "matched"]
    assert all(len(step.operands) == 2 and step.dtype == "int16" for step in added)
    made = {step.op: step for step in steps}
    assert made["linear"].event == "multiplied" and made["linear"].dtype == "int32"
    assert made["l1_norm"].event == "re-born" and "/2^" in made["l1_norm"].result


def test_saved_requantizations_are_those_of_sums_that_are_held(program) -> None:
    """Two blocks of each side: a residual sum for each linear layer in front of it, a ReLU for each
    feed-forward layer, the scores of each attention."""
    each, own = requantizations(scale_trace(program.graph))
    blocks, ffn, attentions = 4 + 4 + 2, 4, 6
    assert each - own == blocks + ffn + attentions


def test_scales_as_text() -> None:
    assert scale_text(np.array([173 / 2**13])) == "173/2^13"
    assert scale_text(np.array([4.0])) == "4"
    assert scale_text(np.array([0.1])) == "0.1"
    assert scale_text(np.array([0.001, 0.02])) == "0.001..0.02"
    assert scale_text(None) == "?"
