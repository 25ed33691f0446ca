"""Cosine of features and the decoder that is cut out of an ONNX file."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from intformer.errors import InputError
from intformer.evaluate.datasets import open_images
from intformer.evaluate.features import cut_decoder, features
from tiny_models import ReferenceProgram, float_classifier, integer_classifier, write_parquet


@pytest.fixture
def model_file(tmp_path):
    """images -> tokens = flat(images) -> map = 3·tokens + 1."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 8, 8])
    out = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", None])
    three = helper.make_tensor("three", TensorProto.FLOAT, [], [3.0])
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    nodes = [
        helper.make_node("Flatten", ["images"], ["tokens"]),
        helper.make_node("Mul", ["tokens", "three"], ["scaled"]),
        helper.make_node("Add", ["scaled", "one"], ["map"]),
    ]
    graph = helper.make_graph(nodes, "g", [images], [out], [three, one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_decoder_is_the_rest_of_the_model(model_file):
    tokens = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    images = np.ones((2, 3, 8, 8), np.float32)
    assert np.allclose(cut_decoder(model_file, "tokens")(images, tokens), 3 * tokens + 1)


def test_decoder_after_an_unknown_value(model_file):
    with pytest.raises(InputError, match="cannot cut the decoder after 'nowhere'"):
        cut_decoder(model_file, "nowhere")


def test_features_of_a_program_and_its_float_model(tmp_path, model_file):
    data = open_images(write_parquet(tmp_path / "x.parquet", 20))
    program = ReferenceProgram(integer_classifier())
    decoder = cut_decoder(model_file, "tokens")
    result = features(program, float_classifier(), data, decoder=decoder, limit=15)
    assert result.images == 15
    assert 0.9999 < result.cosine <= 1
    assert 0.999 < result.cosine_min <= result.cosine
    assert 0.999 < result.map_correlation <= 1


def test_features_notice_a_wrong_model(tmp_path):
    data = open_images(write_parquet(tmp_path / "x.parquet", 20))
    source = float_classifier()
    source.graph.constants["weight"] = source.graph.constants["weight"][[1, 2, 3, 0]]
    result = features(ReferenceProgram(integer_classifier()), source, data)
    assert result.cosine < 0.9
    assert result.map_correlation is None
