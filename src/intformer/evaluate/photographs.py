"""Photographs that every installation has: those inside the scikit-image package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from intformer.errors import InputError
from intformer.evaluate.datasets import Sample
from intformer.evaluate.framing import read_image

FILES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "camera.png",
    "brick.png",
    "grass.png",
    "gravel.png",
    "coins.png",
    "moon.png",
)
"""Photographs in scikit-image's wheel; nothing is downloaded."""

SMALLEST_CROP = 0.25
"""A crop's side is at least this fraction of the photograph's shorter side."""


class PackagePhotos:
    """Whole photographs first, then square crops of random place and size, always the same."""

    labelled = False
    classes: list[str] | None = None
    name = "photographs of scikit-image"

    def __init__(self, files: Sequence[Path], count: int, seed: int) -> None:
        self._files, self._count, self._seed = list(files), count, seed

    def __len__(self) -> int:
        return self._count

    def read(self, rows: Sequence[int] | None = None) -> Iterator[Sample]:
        """Each row is made from its number alone, so that any choice of rows is repeatable."""
        pictures = [read_image(path).convert("RGB") for path in self._files]
        for row in range(self._count) if rows is None else rows:
            index = row % len(pictures)
            name = f"{self._files[index].name} #{row // len(pictures)}"
            picture = pictures[index]
            yield Sample(self._crop(picture, row) if row >= len(pictures) else picture, None, name)

    def random_access(self) -> Callable[[int], Sample]:
        """All pictures are few enough to be held."""
        samples = list(self.read())
        return samples.__getitem__

    def _crop(self, picture: Image.Image, row: int) -> Image.Image:
        random = np.random.default_rng((self._seed, row))
        side = int(min(picture.size) * random.uniform(SMALLEST_CROP, 1.0))
        left = int(random.integers(picture.width - side + 1))
        top = int(random.integers(picture.height - side + 1))
        crop = picture.crop((left, top, left + side, top + side))
        return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else crop


def package_photos(count: int = 256, seed: int = 0) -> PackagePhotos:
    """``count`` pictures made from the photographs inside scikit-image.

    Raises:
        InputError: scikit-image is not installed, or comes without its photographs.
    """
    spec = find_spec("skimage")
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    files = [Path(place) / "data" / name for place in places for name in FILES]
    files = [path for path in files if path.is_file()]
    if not files:
        raise InputError(
            "no photographs found: they come with scikit-image; install it (pip install "
            "scikit-image) or give --data a folder of images"
        )
    return PackagePhotos(files, count, seed)
