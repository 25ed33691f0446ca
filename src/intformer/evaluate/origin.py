"""What a program was made from, as the command line said it; programs keep it in their metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from intformer.frontend.sources import Source
    from intformer.ir.graph import Graph

METADATA_KEY = "origin"


@dataclass(frozen=True)
class Origin:
    """A float model and how it is read.

    Attributes:
        source: the SOURCE; empty if a program does not say.
        output: where a float ``.onnx`` file is cut.
        mean, std: image normalisation in place of the one that the model states.
    """

    source: str = ""
    output: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def of_program(cls, graph: Graph) -> Origin:
        """What a program says; metadata that say something else count as none."""
        try:
            found = json.loads(graph.metadata.get(METADATA_KEY, "{}"))
        except json.JSONDecodeError:
            return cls()
        if not isinstance(found, dict):
            return cls()
        texts = {k: found[k] for k in ("source", "output") if isinstance(found.get(k), str)}
        return cls(**texts, mean=_numbers(found.get("mean")), std=_numbers(found.get("std")))

    def to_metadata(self) -> str:
        """JSON of what is said."""
        return json.dumps({name: value for name, value in vars(self).items() if value is not None})

    def against(self, source: str, output: str | None) -> Origin:
        """Another float model read in the same way, unless it is cut at ``output``."""
        return replace(self, source=source, output=output or self.output)

    def load(self, weights: Path | None = None) -> Source:
        """Read the float model.

        Raises:
            CaptureError: it cannot be found, read or captured.
        """
        from intformer.frontend.sources import load_source

        outputs = [self.output] if self.output else None
        return load_source(self.source, weights, outputs, mean=self.mean, std=self.std)


def _numbers(value: object) -> tuple[float, ...] | None:
    if isinstance(value, list) and all(isinstance(x, int | float) for x in value):
        return tuple(float(x) for x in value)
    return None
