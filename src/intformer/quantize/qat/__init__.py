"""Quantization-aware training: a module whose forward pass is the integer program.

``prepare`` gives the module, any loop trains it, ``convert`` gives the program; ``save_twin`` and
``load_twin`` keep everything in one file.
"""

from intformer.quantize.qat.checkpoint import load_twin, save_twin
from intformer.quantize.qat.twin import Twin, convert, prepare

__all__ = ["Twin", "convert", "load_twin", "prepare", "save_twin"]
