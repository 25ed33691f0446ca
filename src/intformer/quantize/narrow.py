"""Element types of constants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def narrow(values: NDArray[Any], *kinds: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """``values`` (whole numbers) in the first of ``kinds`` that holds all of them.

    Raises:
        StopIteration: none does.
    """
    low, high = values.min(), values.max()
    fits = (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return values.astype(next(fits))
