"""From a float graph to an integer program.

``intformer.quantize(...)`` is a function, and this package has the same name: importing any module
of it makes ``intformer.quantize`` mean the package. So the package can be called, as the function.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from intformer.quantize.api import quantize

        return quantize(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage
