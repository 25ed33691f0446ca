"""intformer: trained Transformers as proven integer-only programs.

``quantize`` makes a program from a trained float model, ``load`` opens one from a file; a program
verifies, runs and saves itself. Names are imported on first use, so that running a program needs
neither torch nor the quantizer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intformer.errors import IntformerError
    from intformer.frontend.sources import load_source
    from intformer.ir.verify import verify
    from intformer.program import Program, load
    from intformer.quantize.api import quantize
    from intformer.quantize.compare import compare
    from intformer.quantize.qat import Twin, convert, load_twin, prepare, save_twin
    from intformer.quantize.recipe import Recipe, load_recipe

__version__ = "0.1.0"

_HOMES = {
    "IntformerError": "intformer.errors",
    "Program": "intformer.program",
    "Recipe": "intformer.quantize.recipe",
    "Twin": "intformer.quantize.qat",
    "compare": "intformer.quantize.compare",
    "convert": "intformer.quantize.qat",
    "load": "intformer.program",
    "load_recipe": "intformer.quantize.recipe",
    "load_source": "intformer.frontend.sources",
    "load_twin": "intformer.quantize.qat",
    "prepare": "intformer.quantize.qat",
    "quantize": "intformer.quantize.api",
    "save_twin": "intformer.quantize.qat",
    "verify": "intformer.ir.verify",
}

__all__ = [
    "IntformerError",
    "Program",
    "Recipe",
    "Twin",
    "compare",
    "convert",
    "load",
    "load_recipe",
    "load_source",
    "load_twin",
    "prepare",
    "quantize",
    "save_twin",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'intformer' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
