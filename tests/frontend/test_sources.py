"""Source texts that need no large library: the zoo, and texts that mean nothing."""

from __future__ import annotations

import pytest
import torch
from frontend_models import awake, check_graph, error, images, run
from safetensors.torch import save_file

from intformer.errors import CaptureError
from intformer.frontend.sources import load_source
from intformer.models.vit import VisionTransformer, ViTConfig


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A zoo with one small model."""
    config = ViTConfig(depth=1, dim=24, num_heads=2, image_size=16)
    model = awake(VisionTransformer(config))
    folder = tmp_path / "small"
    folder.mkdir()
    config.save(folder / "config.json")
    save_file(model.state_dict(), folder / "model.safetensors")
    monkeypatch.setenv("INTFORMER_ZOO", str(tmp_path))
    return folder, model


def test_zoo(zoo):
    _, model = zoo
    source = load_source("zoo:small")
    check_graph(source.graph)
    assert source.preprocess.size == (16, 16)
    assert source.preprocess.mean == model.config.mean
    x = images(4, 16)
    assert error(run(source.graph, {"pixels": x})["logits"], model(x)) < 1e-4
    with torch.no_grad():
        assert torch.equal(source.module(x), model(x))


def test_normalisation_can_be_overridden(zoo):
    source = load_source("zoo:small", mean=(0.0, 0.1, 0.2))
    assert source.preprocess.mean == (0.0, 0.1, 0.2)
    assert source.preprocess.std == ViTConfig().std


def test_broken_zoo_model(zoo):
    folder, _ = zoo
    (folder / "config.json").write_text("{")
    with pytest.raises(CaptureError, match="zoo:small"):
        load_source("zoo:small")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("zoo:none", "no such model in .*; there is .*small"),
        ("vit_cifar10", "'vit_cifar10' is no model source; give zoo:NAME, timm:NAME"),
        ("timm:", "no model source"),
        ("hf:/nowhere", "no config.json in this folder"),
    ],
)
def test_what_is_no_source(zoo, source, words):
    with pytest.raises(CaptureError, match=words) as caught:
        load_source(source)
    assert "\n" not in str(caught.value)


def test_weights_are_for_timm(zoo):
    with pytest.raises(CaptureError, match="for timm:NAME sources only"):
        load_source("zoo:small", zoo[0] / "model.safetensors")
