"""Saved programs: one .onnx file of standard integer operators.

Writing needs the ``onnx`` package, which is imported on first use; loading and running do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intformer.artifact.golden import check_golden
from intformer.artifact.load import load, load_bytes

if TYPE_CHECKING:
    from intformer.artifact.write import save, to_onnx

__all__ = ["check_golden", "load", "load_bytes", "save", "to_onnx"]


def __getattr__(name: str) -> Any:
    if name not in ("save", "to_onnx"):
        raise AttributeError(f"module 'intformer.artifact' has no attribute '{name}'")
    from intformer.artifact import write

    return getattr(write, name)
