"""Runs the command in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from intformer.cli.main import app


@dataclass(frozen=True)
class Outcome:
    """Exit status and what went to standard output and standard error."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document it must be."""
        return json.loads(self.stdout)

    @property
    def line(self) -> str:
        """The error: exactly one line, nothing on standard output, no traceback."""
        assert self.stdout == ""
        (line,) = [text for text in self.stderr.splitlines() if not text.startswith("measuring")]
        assert line.startswith("intformer: ")
        return line


def intformer(*arguments: object) -> Outcome:
    """``intformer ARGUMENTS...``."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return Outcome(result.exit_code, result.stdout, result.stderr)
