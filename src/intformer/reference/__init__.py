"""The slow NumPy interpreter that defines the bits."""

from intformer.reference.interpreter import execute, interpret

__all__ = ["execute", "interpret"]
