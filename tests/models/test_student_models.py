"""The zoo's models on CIFAR-10 with every recipe: the same bytes in every realisation."""

from __future__ import annotations

import numpy as np
import pytest
from whole_models import REALISATIONS, Whole, assert_same, data_or_skip, quantize_whole

from intformer.cli.operators import stand_ins
from intformer.evaluate.datasets import batches, open_images
from intformer.evaluate.floats import FloatModel
from intformer.evaluate.framing import Framing
from intformer.ir.graph import Array

IMAGES = 16
OPERATORS = {
    "shift_attention": "i-vit",
    "quadratic_attention": "i-bert",
    "log2_attention": "fq-vit",
}

MODELS = [("deit_cifar10", "intformer"), ("swin_cifar10", "intformer"), ("swin_cifar10", "i-vit")]
HURRIED = [("deit_cifar10", "i-vit"), ("swin_cifar10", "i-bert"), ("swin_cifar10", "fq-vit")]
HURRIED += [("vit_cifar10", recipe) for recipe in ("i-vit", "i-bert", "fq-vit")]
"""Here the bytes matter: rounded to the nearest, biases not corrected."""


@pytest.fixture(scope="module", params=MODELS + HURRIED, ids="-".join)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    data = data_or_skip("cifar10/train.parquet")
    model, recipe = request.param
    folder = tmp_path_factory.mktemp(model)
    if request.param in MODELS:
        return quantize_whole(folder, f"zoo:{model}", data, 64, recipe=recipe)
    quick = {"rounding": "nearest", "bias_correction": False}
    return quantize_whole(folder, f"zoo:{model}", data, 32, recipe=recipe, **quick)


@pytest.fixture(scope="module")
def inputs(whole: Whole) -> dict[str, Array]:
    data = open_images(data_or_skip("cifar10/test.parquet"))
    framing = Framing.of_source(whole.source.preprocess)
    (batch,) = batches(data, framing, size=IMAGES, limit=IMAGES)
    return {"pixels": batch.pixels}


@pytest.fixture(scope="module")
def wanted(whole: Whole, inputs: dict[str, Array]) -> dict[str, Array]:
    return whole.realisation("reference")(inputs)


@pytest.mark.parametrize("kind", REALISATIONS)
def test_every_realisation_gives_the_bytes_of_the_reference(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], kind: str
) -> None:
    assert_same(whole.graph, whole.realisation(kind)(inputs), wanted)


def test_logits_follow_the_float_model(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array]
) -> None:
    exact = FloatModel(whole.source).images(inputs["pixels"])["logits"].astype(np.float64)
    error = wanted["logits"] * whole.program.scales["logits"]["scale"] - exact
    least = 30 if (whole.source.name.removeprefix("zoo:"), whole.recipe) in MODELS else 15
    assert 10 * np.log10((exact**2).sum() / (error**2).sum()) > least


def test_no_layer_falls_back(whole: Whole) -> None:
    assert not stand_ins(whole.graph)


def test_the_operators_are_those_of_the_recipe(whole: Whole) -> None:
    found = {node.op for node in whole.graph}
    for op, recipe in OPERATORS.items():
        assert any(name.endswith(op) for name in found) == (whole.recipe == recipe), op
