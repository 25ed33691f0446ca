"""Top-1 and agreement against values computed by hand from the same pixels."""

import numpy as np
import pytest

from intformer.errors import InputError
from intformer.evaluate.accuracy import accuracy
from intformer.evaluate.datasets import batches, open_images
from intformer.evaluate.framing import Framing
from intformer.evaluate.outputs import class_names, dequantize
from tiny_models import (
    WEIGHT_SCALE,
    ReferenceProgram,
    float_classifier,
    integer_classifier,
    picture,
    weights,
    write_parquet,
)

COUNT = 40


def expected_labels() -> np.ndarray:
    pixels = np.stack([np.asarray(picture(i)) for i in range(COUNT)]).reshape(COUNT, -1)
    return (pixels.astype(np.int64) @ weights().astype(np.int64)).argmax(1)


@pytest.fixture
def labelled(tmp_path):
    labels = expected_labels()
    assert len(set(labels.tolist())) > 1
    labels[::4] = (labels[::4] + 1) % 4  # a quarter is wrong on purpose
    return open_images(write_parquet(tmp_path / "x.parquet", COUNT, labels=labels.tolist()))


def test_top1_and_agreement(labelled):
    program = ReferenceProgram(integer_classifier())
    done = []
    result = accuracy(
        program,
        labelled,
        source=float_classifier(),
        batch_size=16,
        progress=lambda n, total: done.append((n, total)),
    )
    assert (result.images, result.top1) == (COUNT, 75.0)
    assert (result.float_top1, result.agreement) == (75.0, 100.0)
    assert done == [(16, COUNT), (32, COUNT), (40, COUNT)]
    assert program.calls == [16, 16, 8]


def test_agreement_counts_a_different_model_as_different(labelled):
    source = float_classifier()
    source.graph.constants["weight"] = source.graph.constants["weight"][[1, 2, 3, 0]]
    result = accuracy(ReferenceProgram(integer_classifier()), labelled, source=source)
    assert result.agreement == 0.0
    assert result.float_top1 < 75.0


def test_without_source_and_with_limit(labelled):
    result = accuracy(ReferenceProgram(integer_classifier()), labelled, limit=10)
    assert (result.images, result.float_top1, result.agreement) == (10, None, None)


def test_unlabelled_data_gives_agreement_only(tmp_path):
    data = open_images(write_parquet(tmp_path / "x.parquet", 6))
    program = ReferenceProgram(integer_classifier())
    result = accuracy(program, data, source=float_classifier())
    assert (result.top1, result.float_top1, result.agreement) == (None, None, 100.0)


def test_label_beyond_the_classes(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", 6, labels=[0, 1, 2, 3, 4, 0])
    with pytest.raises(InputError, match="row 4: label 4 is out of range: the program has 4 class"):
        accuracy(ReferenceProgram(integer_classifier()), open_images(path))


def test_source_of_another_size(labelled):
    source = float_classifier()
    source.preprocess.size = 16
    with pytest.raises(InputError, match="was not made from this model"):
        accuracy(ReferenceProgram(integer_classifier()), labelled, source=source)


def test_program_without_photographs(labelled):
    graph = integer_classifier()
    graph.inputs["pixels"] = graph.types["head.linear"]
    with pytest.raises(InputError, match="takes no photographs"):
        accuracy(ReferenceProgram(graph), labelled)


def test_integer_logits_are_the_float_logits_up_to_their_scale(tmp_path):
    graph = integer_classifier()
    data = open_images(write_parquet(tmp_path / "x.parquet", 8))
    pixels = next(batches(data, Framing((8, 8)))).pixels
    logits = ReferenceProgram(graph).run({"pixels": pixels})["logits"]
    real = pixels.reshape(8, -1) / 255 @ (weights().astype(float) * WEIGHT_SCALE)
    error = np.abs(dequantize(graph, "logits", logits) - real)
    assert error.max() < 2.0**-4 * 0.75


def test_class_names_from_metadata_or_numbers():
    graph = integer_classifier()
    assert class_names(graph) == ["ant", "bee", "cat", "dog"]
    graph.metadata["classes"] = '["too", "few"]'
    assert class_names(graph) == ["0", "1", "2", "3"]
    graph.metadata["classes"] = "{damaged"
    assert class_names(graph) == ["0", "1", "2", "3"]
