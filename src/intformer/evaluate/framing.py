"""Photographs to pixels: decode, resize, crop to what a program takes."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intformer.errors import InputError
from intformer.ir.graph import Graph

Pixels = NDArray[np.uint8]

METADATA_KEY = "preprocess"
"""Under this key a program keeps how photographs are framed for it (JSON)."""


@dataclass(frozen=True)
class Framing:
    """How a photograph of any size becomes the square or rectangle that a program takes.

    Attributes:
        size: (height, width) of the result.
        crop_pct: fraction of the resized image that the centre crop keeps, as timm defines it.
        interpolation: ``"nearest"``, ``"bilinear"``, ``"bicubic"`` or ``"lanczos"``.
    """

    size: tuple[int, int]
    crop_pct: float = 1.0
    interpolation: str = "bicubic"

    def apply(self, image: Image.Image) -> Pixels:
        """Resize the shorter side to size / crop_pct and cut the centre: uint8 [H, W, 3]."""
        image = image.convert("RGB")
        goal = [math.floor(side / self.crop_pct) for side in self.size]
        scale = max(goal[0] / image.height, goal[1] / image.width)
        height, width = (max(round(side * scale), 1) for side in (image.height, image.width))
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        top, left = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        box = (left, top, left + self.size[1], top + self.size[0])
        return np.asarray(image.crop(box), dtype=np.uint8)

    @classmethod
    def of_source(cls, preprocess: Any) -> Framing:
        """From the ``ImagePreprocess`` of a model source."""
        side = preprocess.size
        size = (side, side) if isinstance(side, int) else (int(side[-2]), int(side[-1]))
        return cls(size, float(preprocess.crop_pct), _interpolation(preprocess.interpolation))

    @classmethod
    def of_program(cls, graph: Graph) -> Framing:
        """From a program: its input gives the size, its metadata the rest.

        Raises:
            InputError: the program does not take photographs.
        """
        size = image_size(graph)
        if size is None:
            kinds = ", ".join(f"{name}: {kind}" for name, kind in graph.inputs.items())
            raise InputError(f"this program takes no photographs; its inputs are {kinds}")
        stored = _stored(graph.metadata)
        return cls(
            size,
            float(stored.get("crop_pct", 1.0)),
            _interpolation(stored.get("interpolation", "bicubic")),
        )

    def to_metadata(self) -> str:
        """JSON for a program's metadata."""
        return json.dumps(asdict(self))


def image_size(graph: Graph) -> tuple[int, int] | None:
    """(height, width) of the program's uint8 [N, H, W, 3] input, or None if it has none."""
    kinds = list(graph.inputs.values())
    if len(kinds) != 1 or kinds[0].dtype != "uint8" or len(kinds[0].shape) != 4:
        return None
    _, height, width, channels = kinds[0].shape
    if not isinstance(height, int) or not isinstance(width, int) or channels != 3:
        return None
    return height, width


def decode(data: bytes, where: str) -> Image.Image:
    """Decode an image file held in memory.

    Raises:
        InputError: it is empty, damaged, not an image, or too large to be one; ``where`` is named.
    """
    if not data:
        raise InputError(f"{where}: the image is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        reason = str(error).split("<")[0].strip().rstrip(":") or type(error).__name__
        raise InputError(f"{where}: not a readable image ({reason})") from None
    return image


def read_image(path: Path) -> Image.Image:
    """Decode an image file.

    Raises:
        InputError: it is missing, unreadable, empty or not an image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    return decode(data, str(path))


def _interpolation(name: Any) -> str:
    text = str(name).lower()
    return text if text.upper() in Image.Resampling.__members__ else "bicubic"


def _stored(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        value = json.loads(metadata.get(METADATA_KEY, "{}"))
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
