"""Photographs in the layout of ImageNet, a folder per class: quantize, train, eval by command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from intformer.evaluate.photographs import package_photos
from torchvision_stand_in import torchvision_for_import

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from cli_runner import intformer

CLASSES = ("n01440764", "n02102040", "n03028079")


@pytest.fixture(scope="module")
def timm() -> Iterator[Any]:
    pytest.importorskip("skimage")
    with torchvision_for_import():
        yield pytest.importorskip("timm")


@pytest.fixture(scope="module")
def folder(timm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train/<class>/*.jpg``, ``val/<class>/*.jpg`` and a checkpoint of timm's smallest ViT."""
    folder = tmp_path_factory.mktemp("imagenet")
    for row, sample in enumerate(package_photos(30, seed=2).read()):
        split = "val" if row % 5 == 0 else "train"
        path = folder / split / CLASSES[row % 3] / f"{row}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = sample.image.convert("RGB")
        image.thumbnail((300, 260))
        image.save(path)
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False, num_classes=len(CLASSES))
    save_file(model.state_dict(), folder / "vit.safetensors")
    return folder


def test_quantize_train_and_eval(folder: Path, tmp_path: Path) -> None:
    model = ("timm:test_vit", "--weights", folder / "vit.safetensors")
    train, val = folder / "train", folder / "val"
    made = intformer("quantize", *model, "--data", train, "-o", tmp_path / "ptq.onnx", "--json")
    assert made.status == 0, made.stderr
    trained = intformer(
        "train", *model, "--data", train, "--val", val, "-o", tmp_path / "qat.onnx",
        "--batch-size", 6, "--samples", 12, "--lr", 1e-3, "--mixup", 0.8, "--cutmix", 1,
        "--rand-augment", "rand-m9-mstd0.5-inc1", "--ema", 0.9, "--workers", 2, "--json",
    )  # fmt: skip
    assert trained.status == 0, trained.stderr
    assert trained.json["steps"] == 4
    measured = intformer("eval", tmp_path / "qat.onnx", "--data", val, "--json").json
    assert measured["images"] == 6 and measured["top1"] == pytest.approx(trained.json["top1"])
    assert (tmp_path / "qat.onnx").read_bytes() != (tmp_path / "ptq.onnx").read_bytes()
