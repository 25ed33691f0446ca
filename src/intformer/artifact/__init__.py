"""Saved programs: one .onnx file of standard integer operators."""

from intformer.artifact.golden import check_golden
from intformer.artifact.load import load, load_bytes
from intformer.artifact.save import save, to_onnx

__all__ = ["check_golden", "load", "load_bytes", "save", "to_onnx"]
