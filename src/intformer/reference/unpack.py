"""Weights of 4 bits expanded, without the memory that doing so at once would take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from intformer import arith
from intformer.ir.stored import column_blocks
from intformer.reference.primitives import Array, NumpyPrimitives


def unpacked(packed: Array, multiplier: Array, rows: int) -> NDArray[np.int8]:
    """``arith.unpack4`` of a verified program: int8 [rows, O]."""
    weight = np.empty((rows, len(packed)), np.int8)
    for block, part in _parts(packed, multiplier, rows):
        weight[:, block] = part
    return weight


def unpacked_sums(packed: Array, multiplier: Array, rows: int) -> NDArray[np.int64]:
    """Σ over the rows of ``unpacked``, int64 [O]."""
    sums = [part.sum(axis=0, dtype=np.int64) for _, part in _parts(packed, multiplier, rows)]
    return np.concatenate(sums)


def _parts(packed: Array, multiplier: Array, rows: int) -> Iterator[tuple[slice, NDArray[np.int8]]]:
    """Columns and their weights."""
    for block in column_blocks(packed):
        yield block, arith.unpack4(NumpyPrimitives(), packed[block], multiplier[block], rows=rows)
