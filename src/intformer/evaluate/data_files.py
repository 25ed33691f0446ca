"""Where the data sets of tests, demo and examples lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def find_data(name: str) -> Path | None:
    """A data file such as ``cifar10/test.parquet`` in the folders where tests and the demo look.

    ``INTFORMER_DATA`` comes first, then ``../shared/data`` beside the checkout.
    """
    for folder in _data_folders():
        if (folder / name).exists():
            return folder / name
    return None


def _data_folders() -> Iterator[Path]:
    if chosen := os.environ.get("INTFORMER_DATA"):
        yield Path(chosen).expanduser()
    here = Path.cwd()
    for root in (here, *here.parents, *Path(__file__).resolve().parents):
        if (root / "pyproject.toml").exists():
            yield root.parent / "shared" / "data"
