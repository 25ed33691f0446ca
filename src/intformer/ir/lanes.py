"""Which weights of a linear layer meet in one 16-bit lane, and when their products fit.

Kernels for processors without VNNI multiply unsigned by signed bytes and add neighbouring products
in int16 (``vpmaddubsw``); two or four such sums may be added before they are widened. The quantizer
and the runtime must agree on which weights that concerns: both ask this module.
"""

from __future__ import annotations

import numpy as np

from intformer.ir.graph import Array

LANE_ORDER = (0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)
"""Rows of each 16 rows of a weight [K, O], such that every 2, 4 or 8 of this list share a lane."""

LANE_GROUPS = (2, 4, 8)
"""How many products may be added in one lane."""

COLUMNS_AT_ONCE = 1024
"""Columns that are examined together: sums take four times the memory of their weights."""

SAFE_SUM = 128
"""Largest sum of the weights of one sign in a lane: 255·128 = 32640 is below 2^15."""


def in_lane_order(weight: Array) -> Array:
    """``weight`` [K, O] as [⌈K/16⌉·16, O] with rows in ``LANE_ORDER``, zeros where K ends."""
    rows, columns = weight.shape
    full = np.zeros((-(-rows // 16) * 16, columns), weight.dtype)
    full[:rows] = weight
    return full.reshape(-1, 16, columns)[:, LANE_ORDER].reshape(-1, columns)


def safe_group(weight: Array) -> int:
    """How many products of ``weight`` int8 [K, O] with uint8 may be added in int16: 8, 4, 2 or 1.

    The least and the largest sum of products are -255·Σ max(-w, 0) and 255·Σ max(w, 0), which sums
    of fewer of them do not exceed; so weights of opposite signs share a lane without harm.
    """
    starts = range(0, weight.shape[1], COLUMNS_AT_ONCE)
    return min(_safe_group(weight[:, c : c + COLUMNS_AT_ONCE]) for c in starts)


def _safe_group(weight: Array) -> int:
    ordered = in_lane_order(weight)
    zeros = np.zeros(ordered.shape[1], ordered.dtype)  # NumPy is slow with a scalar here
    highest, lowest = (part(ordered, zeros).astype(np.int16) for part in (np.maximum, np.minimum))
    found = 1
    for size in LANE_GROUPS:
        highest, lowest = (sums[0::2] + sums[1::2] for sums in (highest, lowest))
        if highest.max() > SAFE_SUM or lowest.min() < -SAFE_SUM:
            break
        found = size
    return found
