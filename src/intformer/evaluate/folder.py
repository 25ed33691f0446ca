"""Images in a folder: one sub-folder per class, or flat and without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from intformer.errors import InputError
from intformer.evaluate.datasets import Sample
from intformer.evaluate.framing import read_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"})


class ImageFolder:
    """``folder/<class>/picture.jpg`` with labels by sorted class name, or ``folder/picture.jpg``.

    Raises:
        InputError: no image is in it, or images lie both in it and in sub-folders.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        flat = _images(path)
        classes = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
        nested = [(picture, label) for label, p in enumerate(classes) for picture in _images(p)]
        if flat and nested:
            raise InputError(
                f"{path}: images lie both in the folder and in its sub-folders; keep one kind"
            )
        if not flat and not nested:
            raise InputError(f"{path}: no images in this folder (looked for {_known()})")
        self.labelled = not flat
        self.classes: list[str] | None = [p.name for p in classes] if nested else None
        self._files: list[tuple[Path, int | None]] = [*nested] or [(p, None) for p in flat]

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: Sequence[int] | None = None) -> Iterator[Sample]:
        """Decode files in order of class and name."""
        for row in range(len(self)) if rows is None else rows:
            path, label = self._files[row]
            yield Sample(read_image(path), label, str(path))

    def random_access(self) -> Callable[[int], Sample]:
        """Reads one file per call."""
        return lambda row: next(self.read([row]))


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _known() -> str:
    return ", ".join(sorted(SUFFIXES))
