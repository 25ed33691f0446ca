"""The way of an ImageNet model: a folder per class, timm's architecture with its own checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_runner import intformer
from safetensors.torch import save_file

from intformer.evaluate.photographs import package_photos
from torchvision_stand_in import torchvision_for_import

CLASSES = ("n01440764", "n01443537", "n01484850")
MODEL = "deit_tiny_patch16_224"


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``val/<synset>/<name>.JPEG``: four photographs for each of three classes."""
    pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("imagenet") / "val"
    for index, sample in enumerate(package_photos(12).read()):
        place = folder / CLASSES[index % 3]
        place.mkdir(parents=True, exist_ok=True)
        picture = sample.image.resize((320, 240))
        picture.save(place / f"ILSVRC2012_val_{index:08d}.JPEG", quality=95)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the real shape; random, so only agreement with the float model can be judged."""
    with torchvision_for_import():
        timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(MODEL, pretrained=False)
    path = tmp_path_factory.mktemp("weights") / "deit.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return path


def test_quantize_and_eval(imagenet: Path, checkpoint: Path, tmp_path: Path) -> None:
    program = tmp_path / "deit.onnx"
    source = f"timm:{MODEL}"
    made = intformer(
        *("quantize", source, "--weights", checkpoint, "--data", imagenet),
        *("--samples", 4, "-o", program),
    )
    assert made.status == 0, made.stderr
    scored = intformer(
        *("eval", program, "--data", imagenet, "--against", source, "--weights", checkpoint),
        "--json",
    )
    assert scored.status == 0, scored.stderr
    found = scored.json
    assert found["images"] == 12
    assert 0 <= found["top1"] <= 100
