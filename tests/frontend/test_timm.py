"""timm's vision transformers, small and with random weights."""

from __future__ import annotations

import pytest
import torch
from frontend_models import awake, check_graph, error, images, run
from safetensors.torch import save_file

from intformer.errors import CaptureError
from intformer.frontend.capture import capture
from intformer.frontend.sources import load_source

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}

VARIANTS = {
    "class token": ("vit_tiny_patch16_224", {}),
    "average pooling": ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
    "average without class token": ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    "no pooling": ("vit_tiny_patch16_224", {"global_pool": "", "num_classes": 0}),
    "features": ("vit_tiny_patch16_224", {"num_classes": 0}),
    "layer scale": ("vit_tiny_patch16_224", {"init_values": 0.1}),
    "registers": ("vit_tiny_patch16_224", {"reg_tokens": 4, "no_embed_class": True}),
    "query and key norm": ("vit_tiny_patch16_224", {"qk_norm": True}),
    "no bias": ("vit_tiny_patch16_224", {"qkv_bias": False, "pre_norm": True}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "deit": ("deit_tiny_patch16_224", {}),
    "deit3": ("deit3_small_patch16_224", {}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant(timm, variant):
    name, options = VARIANTS[variant]
    model = awake(timm.create_model(name, pretrained=False, **(SMALL | options)))
    graph = capture(model, (images(2, 32),), names=["pixels"], outputs=["y"])
    check_graph(graph)
    assert sum(node.op == "attention" for node in graph) == 2
    x = images(3, 32)
    assert error(run(graph, {"pixels": x})["y"], model(x)) < 1e-4


def test_layer_scale_is_folded_and_keeps_names(timm):
    model = awake(timm.create_model("vit_tiny_patch16_224", init_values=0.1, **SMALL))
    graph = capture(model, (images(2, 32),))
    assert not {node.op for node in graph} & {"mul", "scale"}
    proj, gamma = (model.get_parameter(f"blocks.1.{n}") for n in ("attn.proj.weight", "ls1.gamma"))
    expected = (proj * gamma[:, None]).detach().numpy()
    assert (graph.constants["blocks.1.attn.proj.weight"] == expected).all()


def test_distilled_heads_are_averaged(timm):
    model = awake(timm.create_model("deit_tiny_distilled_patch16_224", **SMALL))
    graph = capture(model, (images(2, 32),))
    assert [n.op for n in graph][-2:] == ["add", "scale"] and graph.nodes[-1].attrs["factor"] == 0.5


@pytest.fixture
def small_vit(timm):
    """The smallest model that timm has under a name of its own."""
    return awake(timm.create_model("test_vit", num_classes=5))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_source_with_weights(small_vit, tmp_path, suffix):
    file = tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        save_file(small_vit.state_dict(), file)
    else:
        wrapped = {f"module.{k}": v for k, v in small_vit.state_dict().items()}
        torch.save({"model": wrapped, "epoch": 3}, file)
    source = load_source("timm:test_vit", file)
    assert (source.kind, source.name) == ("timm", "test_vit")
    assert source.preprocess.size == (160, 160) and source.preprocess.mean == (0.5, 0.5, 0.5)
    x = images(1, 160)
    assert error(run(source.graph, {"pixels": x})["logits"], small_vit(x)) < 1e-4


def test_weights_of_another_model(small_vit, tmp_path):
    state = small_vit.state_dict()
    del state["norm.weight"]
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CaptureError, match=r"w\.safetensors: lacks 'norm\.weight'"):
        load_source("timm:test_vit", tmp_path / "w.safetensors")


def test_a_pickle_is_not_run(timm, tmp_path):
    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("code from a checkpoint was run",))

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CaptureError, match=r"evil\.pth: not a checkpoint of plain tensors"):
        load_source("timm:vit_tiny_patch16_224", tmp_path / "evil.pth")


def test_unknown_name(timm):
    with pytest.raises(CaptureError, match="no such model; did you mean vit_tiny_patch16"):
        load_source("timm:vit_tinny_patch16_224")


def test_offline(timm, monkeypatch):
    def unreachable(name, pretrained, **_):
        raise OSError("no route to host\nmany more lines")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        CaptureError, match=r"\(no route to host\); give a checkpoint with --weights"
    ):
        load_source("timm:vit_tiny_patch16_224")
