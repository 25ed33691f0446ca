"""An integer program: what quantization makes, files hold and users run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intformer.ir.graph import Array, Graph
from intformer.ir.verify import Proof, verify

if TYPE_CHECKING:
    from intformer.runtime.session import Session


@dataclass
class Program:
    """A verified integer graph with convenience around it.

    Integers in (raw uint8 pixels, token ids), integers out. ``scales`` says what real numbers the
    outputs stand for; executing never needs it.
    """

    graph: Graph
    threads: int | None = None
    _session: Session | None = field(default=None, repr=False)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run on one batch; arrays by input name in, arrays by output name out.

        Raises:
            InputError: inputs do not fit the program's declared types, shapes or ranges.
        """
        if self._session is None:
            from intformer.runtime.session import Session

            self._session = Session(self.graph, threads=self.threads)
        return self._session.run(inputs)

    def verify(self) -> Proof:
        """Prove types, shapes and ranges (again)."""
        return verify(self.graph)

    def save(self, path: str | Path, *, flat: bool = False) -> None:
        """Write the artifact: one ONNX file of standard integer operators."""
        from intformer.artifact import save

        save(self.graph, path, flat=flat)

    @property
    def scales(self) -> dict[str, dict[str, float]]:
        """Output name -> {"scale", "zero_point"}: real = scale · (integer - zero_point)."""
        found: dict[str, dict[str, float]] = json.loads(self.graph.metadata.get("scales", "{}"))
        return found

    def metadata(self, key: str) -> Any:
        """A JSON entry of the graph's metadata, or None."""
        text = self.graph.metadata.get(key)
        return None if text is None else json.loads(text)


def load(path: str | Path, *, threads: int | None = None) -> Program:
    """Load and verify an artifact.

    Raises:
        ArtifactError: the file is missing, damaged or no intformer artifact.
        VerifyError: the program in it breaks a rule.
    """
    from intformer.artifact import load as load_graph

    return Program(load_graph(path), threads)
