"""The command group: turns every error into one clear line and an exit status."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from intformer.errors import ForeignFileError, IntformerError, VerifyError

BAD_INPUT, FAILED_VERIFICATION, DEFECT, INTERRUPTED = 2, 1, 3, 130
"""Exit statuses; 0 is success."""

PROVIDERS = {
    **dict.fromkeys(("torch", "safetensors"), "intformer[torch]"),
    "accelerate": "intformer[train]",
    **dict.fromkeys(
        ("PIL", "pyarrow", "scipy", "tokenizers", "sentencepiece", "jinja2"), "intformer[eval]"
    ),
}
"""Module -> what to install to get it, where that is not its own name."""


class Commands(TyperGroup):
    """Runs a verb; errors become one line on standard error, never a traceback.

    ``INTFORMER_DEBUG=1`` shows tracebacks.
    """

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run and exit, unless ``standalone_mode`` is off."""
        standalone = extra.pop("standalone_mode", True)
        try:
            status = super().main(*args, **{**extra, "standalone_mode": False})
        except (KeyboardInterrupt, typer.Abort):
            status = _say("interrupted", INTERRUPTED)
        except Exception as error:  # the last line of defence against tracebacks
            if os.environ.get("INTFORMER_DEBUG", "") not in ("", "0"):
                raise
            status = _report(error)
        if not standalone:
            return status
        sys.exit(status if isinstance(status, int) else 0)


def _report(error: Exception) -> int:
    if isinstance(error, ForeignFileError):
        return _say(f"error: {error}", BAD_INPUT)
    if isinstance(error, VerifyError):
        return _say(f"error: {error}", FAILED_VERIFICATION)
    if isinstance(error, IntformerError):
        return _say(f"error: {error}", BAD_INPUT)
    if isinstance(error, typer.TyperException):
        return _say(f"error: {error.format_message()} Try 'intformer --help'.", BAD_INPUT)
    if isinstance(error, ModuleNotFoundError):
        return _say(f"error: {_missing(error)}", BAD_INPUT)
    if isinstance(error, MemoryError):
        return _say("error: not enough memory; use fewer samples or smaller batches", BAD_INPUT)
    if isinstance(error, OSError):
        return _say(f"error: {error.filename or 'output'}: {error.strerror or error}", BAD_INPUT)
    what = f"{type(error).__name__}: {error}"
    return _say(f"error: a defect of intformer: {what} (INTFORMER_DEBUG=1 shows more)", DEFECT)


def _missing(error: ModuleNotFoundError) -> str:
    name = (error.name or "").partition(".")[0]
    return f"this needs the package '{name}': pip install '{PROVIDERS.get(name, name)}'"


def _say(text: str, status: int) -> int:
    sys.stderr.write(f"intformer: {' '.join(text.split())}\n")
    return status
