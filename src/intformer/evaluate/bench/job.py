"""What the processes of a benchmark share: a folder of models and inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Feed = dict[str, Array]

RAW, FLOAT, CALIBRATION = "raw", "float", "calibration"
"""Sets of inputs: raw integers as programs take them, and what they are for a float model."""


@dataclass(frozen=True)
class Job:
    """A folder that holds one model in every form an engine needs.

    Attributes:
        folder: a private folder of this benchmark.
        program: file of the integer program.
        variants: further programs of the same model, by the recipe that made them.
        output: name of the output that is compared.
        text: the inputs are token ids.
    """

    folder: Path
    program: Path
    output: str
    text: bool
    variants: dict[str, Path] = field(default_factory=dict)

    @property
    def module(self) -> Path:
        """The pickled PyTorch module; absent if the source is an ONNX file."""
        return self.folder / "module.pt"

    @property
    def onnx(self) -> Path:
        """The float model as ONNX."""
        return self.folder / "float.onnx"

    def save(self) -> None:
        """Write the description to the folder."""
        (self.folder / "job.json").write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def load(cls, folder: Path) -> Job:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / "job.json").read_text())
        variants = {name: Path(file) for name, file in stored["variants"].items()}
        return cls(folder, Path(stored["program"]), stored["output"], stored["text"], variants)

    def save_feed(self, kind: str, feed: Mapping[str, Array]) -> None:
        """Keep inputs by name; the first axis is the batch."""
        for name, array in feed.items():
            np.save(self.folder / f"{kind}.{name}.npy", array)

    def feed(self, kind: str, count: int | None = None) -> Feed:
        """The first ``count`` inputs of a set; only these are read from the disk."""
        files = sorted(self.folder.glob(f"{kind}.*.npy"))
        return {
            path.name.split(".")[1]: np.array(np.load(path, mmap_mode="r")[:count])
            for path in files
        }
