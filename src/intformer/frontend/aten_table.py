"""The whole table of ATen operators: importing this module registers every handler."""

from __future__ import annotations

from intformer.frontend import aten_functions, aten_moves, aten_pooling, aten_products, aten_windows
from intformer.frontend.aten import TABLE, Handler, Writer

MODULES = (aten_functions, aten_moves, aten_pooling, aten_products, aten_windows)
"""The modules beside ``aten`` that put handlers into :data:`TABLE`."""

__all__ = ["MODULES", "TABLE", "Handler", "Writer"]
