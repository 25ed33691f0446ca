"""Frontends: a trained model becomes a float-stage graph of canonical operators."""

from intformer.frontend.capture import capture
from intformer.frontend.onnx_import import import_onnx
from intformer.frontend.sources import Source, load_source

__all__ = ["Source", "capture", "import_onnx", "load_source"]
