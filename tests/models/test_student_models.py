"""The zoo's DeiT-like and Swin-like models on CIFAR-10: the same bytes in every realisation."""

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


MODELS = [("deit_cifar10", "intformer"), ("swin_cifar10", "intformer"), ("swin_cifar10", "i-vit")]


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    data = data_or_skip("cifar10/train.parquet")
    model, recipe = request.param
    folder = tmp_path_factory.mktemp(model)
    return quantize_whole(folder, f"zoo:{model}", data, 64, recipe=recipe)


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
    assert 10 * np.log10((exact**2).sum() / (error**2).sum()) > 30


def test_no_layer_falls_back(whole: Whole) -> None:
    assert not stand_ins(whole.graph)
