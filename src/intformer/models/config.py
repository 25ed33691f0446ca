"""What the configurations of all image models share."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class ImageConfig:
    """Input and classes of an image classifier.

    ``mean`` and ``std`` are per channel, for pixels scaled to 0..1. The defaults are CIFAR-10's.
    ``architecture`` names the kind of model in ``config.json``.
    """

    architecture: ClassVar[str]

    image_size: int = 32
    in_channels: int = 3
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    classes: tuple[str, ...] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    def __post_init__(self) -> None:
        """Reject what no model can have.

        Raises:
            ValueError: ``mean`` or ``std`` does not have one entry per channel.
        """
        if len(self.mean) != self.in_channels or len(self.std) != self.in_channels:
            raise ValueError(f"mean and std need {self.in_channels} entries each")

    def save(self, path: str | Path) -> None:
        """Write the configuration to ``path`` as JSON."""
        stored = {"architecture": self.architecture, **asdict(self)}
        Path(path).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration that :meth:`save` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not JSON, or describes no valid model of this architecture.
            TypeError: it has a field that this class lacks.
        """
        stored = read_stored(path)
        if stored.pop("architecture") != cls.architecture:
            raise ValueError(f"{path} does not describe a {cls.architecture} model")
        # JSON has no tuples, and a frozen (hashable) configuration can hold no lists.
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()
        }
        return cls(**fields)


@dataclass(frozen=True)
class StemConfig(ImageConfig):
    """A model that begins with 3x3 convolutions, each with BatchNorm and ReLU.

    ``stem_channels`` and ``stem_strides`` have one entry per convolution.
    """

    stem_channels: tuple[int, ...] = ()
    stem_strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Reject what no model can have.

        Raises:
            ValueError: the stem's lists differ in length.
        """
        super().__post_init__()
        if len(self.stem_channels) != len(self.stem_strides):
            raise ValueError("stem_channels and stem_strides need one entry per stem layer")

    @property
    def total_stride(self) -> int:
        """Pixels between neighbouring results of the stem."""
        return math.prod(self.stem_strides)


def read_stored(path: str | Path) -> dict[str, Any]:
    """The fields of a configuration file; one without ``architecture`` is a ``vit``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a JSON object.
    """
    stored = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(stored, dict):
        raise ValueError(f"{path} is not a JSON object")
    return {"architecture": "vit", **stored}
