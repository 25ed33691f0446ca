"""Writes the generated parts of the documentation: ``python docs/generate.py [--print]``.

``docs/commands.md`` is the help that the command itself prints; a test compares both.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.update(TYPER_USE_RICH="0", NO_COLOR="1", COLUMNS="90")  # read when typer is imported

from typer.main import get_command

from intformer.cli.main import app

DOCS = Path(__file__).resolve().parent

HEAD = """<!-- written by docs/generate.py; lines broken by LAYOUT -->

# Commands

This page is what `intformer VERB --help` prints.

- Every verb that reports takes `--json`: standard output then holds one JSON document and nothing
  else. Progress goes to standard error.
- Errors are one line on standard error. `INTFORMER_DEBUG=1` shows tracebacks.
- Output files are written beside their place and renamed, so a failed or interrupted command leaves
  none behind.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | a program failed verification |
| 2 | bad input: a missing or unreadable file, a wrong shape, an unknown option or recipe key |
| 3 | a defect of intformer; please report it |
| 130 | interrupted |

Program files (`FILE`) are written by `quantize`. A SOURCE of a float model is one of

| SOURCE | what |
|---|---|
| `zoo:NAME` | a model that comes with intformer, for example `zoo:vit_cifar10` |
| `timm:NAME` | a timm model ([models](models.md)); `--weights FILE` in place of its own |
| `hf:FOLDER` | a local Hugging Face folder, see [models](models.md) |
| `FILE.onnx` | a float ONNX file, with `--output VALUE` to cut it |
"""


def help_of(*verb: str) -> str:
    """The help of a verb as plain text."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        app([*verb, "--help"], prog_name="intformer", standalone_mode=False)
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def layout() -> str:
    """What decides line breaks besides the words."""
    return "typer " + ".".join(version("typer").split(".")[:2])


def commands() -> str:
    """The text of docs/commands.md."""
    parts = [HEAD.replace("LAYOUT", layout()), "## intformer", f"```text\n{help_of()}\n```"]
    for verb in get_command(app).commands:
        parts += [f"## intformer {verb}", f"```text\n{help_of(verb)}\n```"]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(commands())
    else:
        (DOCS / "commands.md").write_text(commands(), encoding="utf-8")
