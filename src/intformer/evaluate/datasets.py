"""Data for calibration and evaluation, opened from the DATA string of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intformer.errors import InputError
from intformer.evaluate.data_files import find_data
from intformer.evaluate.framing import Framing, Pixels

PHOTOGRAPHS = "photographs"
"""The DATA string for crops of the photographs that come inside an installed package."""


@dataclass(frozen=True)
class Sample:
    """One decoded image; ``name`` says where it came from (file, row)."""

    image: Image.Image
    label: int | None
    name: str


class ImageData(Protocol):
    """Images on disk, decoded one at a time.

    Attributes:
        name: for messages.
        labelled: whether every sample has a label.
        classes: label -> class name, where known.
    """

    name: str
    labelled: bool
    classes: list[str] | None

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int] | None = None) -> Iterator[Sample]:
        """The samples with these ascending row numbers, or all."""

    def random_access(self) -> Callable[[int], Sample]:
        """A function from row number to sample, for any order of rows."""


@dataclass(frozen=True)
class Batch:
    """Framed images: ``pixels`` uint8 [B, H, W, 3], ``labels`` int64 [B] or None."""

    pixels: Pixels
    labels: NDArray[np.int64] | None
    names: list[str]


def open_images(data: str | Path) -> ImageData:
    """Open a Parquet file, an image folder or ``photographs``.

    Raises:
        InputError: missing, empty, of an unknown kind, or without the columns it needs.
    """
    if str(data) == PHOTOGRAPHS:
        from intformer.evaluate.photographs import package_photos

        return package_photos()
    path = existing(data)
    if path.is_dir():
        from intformer.evaluate.folder import ImageFolder

        return ImageFolder(path)
    if path.suffix in (".parquet", ".pq"):
        from intformer.evaluate.parquet import ParquetImages

        return ParquetImages(path)
    raise InputError(
        f"{path}: not image data; give a folder of images, a .parquet file with an 'image' column, "
        f"or the word {PHOTOGRAPHS}"
    )


def existing(data: str | Path) -> Path:
    """``data`` as a path; a name such as ``multi30k`` is looked for in the data folder too.

    Raises:
        InputError: nothing is there.
    """
    path = Path(data).expanduser()
    if path.exists():
        return path
    found = None if path.is_absolute() else find_data(str(path))
    if found is None:
        places = "" if path.is_absolute() else ", nor is it in the data folder (INTFORMER_DATA)"
        raise InputError(f"{path}: no such file or folder{places}")
    return found


def spread(total: int, count: int | None) -> list[int]:
    """``count`` row numbers spread evenly over ``total`` rows (files are often sorted by class)."""
    if count is None or count >= total:
        return list(range(total))
    return [i * total // count for i in range(count)]


def batches(
    data: ImageData, framing: Framing, *, size: int = 64, limit: int | None = None
) -> Iterator[Batch]:
    """Stream framed images in batches; memory holds one batch.

    ``limit`` images are spread evenly over the data.
    """
    held: list[tuple[Pixels, int | None, str]] = []
    for sample in data.read(None if limit is None else spread(len(data), limit)):
        held.append((framing.apply(sample.image), sample.label, sample.name))
        if len(held) == size:
            yield _batch(held)
            held = []
    if held:
        yield _batch(held)


def _batch(held: list[tuple[Pixels, int | None, str]]) -> Batch:
    pixels, labels, names = zip(*held, strict=True)
    known = None if None in labels else np.array(labels, dtype=np.int64)
    return Batch(np.stack(pixels), known, list(names))
