"""What a model expects of its raw inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intformer.errors import CaptureError
from intformer.generate.special import SpecialTokens

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImagePreprocess:
    """How a photograph becomes a normalised image.

    Attributes:
        size: (height, width).
        crop_pct: fraction of the resized image that the centre crop keeps.
        mean, std: per channel, for pixels scaled to 0..1.
        interpolation: ``"nearest"``, ``"bilinear"``, ``"bicubic"`` or ``"lanczos"``.
    """

    size: tuple[int, int]
    crop_pct: float = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bicubic"


@dataclass(frozen=True)
class TextPreprocess:
    """How a sentence becomes token ids: the tokenizer.json and the longest sequence to keep."""

    tokenizer_file: Path
    max_length: int


@dataclass(frozen=True)
class SequencePreprocess:
    """How text becomes the token ids of a translation or language model.

    Attributes:
        tokenizer_file: tokenizer.json, or the folder of source.spm and what belongs to it.
        special: tokens that text does not contain.
        max_length: longest sequence that the model was trained on.
        pair: languages of a translation model, ``"en-de"``; empty if unknown.
    """

    tokenizer_file: Path
    special: SpecialTokens
    max_length: int
    pair: str = ""


Preprocess = ImagePreprocess | TextPreprocess | SequencePreprocess

_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""The numbers that Pillow, and so Hugging Face's configuration files, give to filters."""


def of_hugging_face_images(folder: Path, size: tuple[int, int]) -> ImagePreprocess:
    """From ``preprocessor_config.json``; mean and std are 0.5 if it is silent."""
    config = read_json(folder / "preprocessor_config.json")
    return ImagePreprocess(
        size,
        mean=tuple(config.get("image_mean", (0.5, 0.5, 0.5))),
        std=tuple(config.get("image_std", (0.5, 0.5, 0.5))),
        interpolation=_RESAMPLE.get(config.get("resample", 2), "bilinear"),
    )


def of_hugging_face_text(folder: Path, limit: int) -> TextPreprocess:
    """The sentence length is the one a sentence-embedding model states, else the longest."""
    stated = read_json(folder / "sentence_bert_config.json").get("max_seq_length") or limit
    return TextPreprocess(folder / "tokenizer.json", min(int(stated), limit))


def of_timm(config: Mapping[str, Any]) -> ImagePreprocess:
    """From timm's data configuration."""
    _, height, width = config["input_size"]
    interpolation = str(config.get("interpolation", "bicubic"))
    return ImagePreprocess(
        (height, width),
        float(config.get("crop_pct", 1.0)),
        tuple(config["mean"]),
        tuple(config["std"]),
        "bilinear" if interpolation == "random" else interpolation,
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if the file does not exist.

    Raises:
        CaptureError: the file is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, dict):
        raise CaptureError(f"{path}: not a JSON object")
    return value
