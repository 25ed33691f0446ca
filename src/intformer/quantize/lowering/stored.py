"""Constants that need fewer bytes than the arrays they stand for; what is computed is those arrays.

A lowering for a training step (``Context.known``) is never stored and keeps the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.arith import TURN_BITS
from intformer.quantize.lowering.context import Context
from intformer.quantize.narrow import narrow

NODE_BYTES = 100
"""About what a node and its constants take in a file besides their content."""


def pair_bias(context: Context, bias: NDArray[np.int32], path: str, name: str) -> str:
    """The value of a window attention's bias int32 [W, H, T, S], by relations where that is less.

    Pairs of positions with one relation have one bias in every head, so a table of relations and
    the relation of each pair hold all of it.
    """
    if context.known is not None:
        return context.constant(name, bias)
    windows, heads, queries, keys = bias.shape
    rows = np.ascontiguousarray(bias.transpose(0, 2, 3, 1)).reshape(-1, heads)
    found, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # of first appearance: layers with one geometry have equal ``pairs``
    pairs = np.argsort(order)[which.reshape(-1)].reshape(windows, queries, keys)
    values = narrow(found[order], np.int16, np.int32)
    kind = np.uint8 if len(values) <= 256 else np.int16
    small = values.nbytes + pairs.size * np.dtype(kind).itemsize + NODE_BYTES < bias.nbytes
    if len(values) > 2**15 or not small:
        return context.constant(name, bias)
    operands = (
        context.constant(f"{name}.values", values),
        context.constant(f"{name}.pairs", pairs.astype(kind)),
    )
    return context.emit("pair_bias", operands, path, name)


def position_table(
    context: Context, table: NDArray[Any], real: NDArray[np.float64], path: str, name: str
) -> str:
    """The value of a position table, from the angles in it where it has sines and cosines.

    Args:
        context: of the lowering.
        table: the integers, [P, C].
        real: the same in real numbers; sines are the first half of a row, cosines the second, if it
            is that of Vaswani et al. (arXiv 1706.03762, section 3.5).
        path, name: of the module and of the value.
    """
    if context.known is None and table.dtype == np.int16 and table.shape[1] % 2 == 0:
        parts = _turned(table, real)
        if parts is not None:
            operands = [context.constant(f"{name}.{part}", parts[part]) for part in parts]
            rows, width = table.shape
            return context.emit("turned_positions", operands, path, name, rows=rows, width=width)
    return context.constant(name, table)


def _turned(table: NDArray[Any], real: NDArray[np.float64]) -> dict[str, NDArray[Any]] | None:
    """The operands of ``turned_positions`` that give ``table``, if there are any."""
    rows, half = len(table), table.shape[1] // 2
    step = 1 << (rows.bit_length() // 2)
    points = real[:, half:] + 1j * real[:, :half]
    start = points[0]
    if rows < 4 * step or (np.abs(start) < 1e-6).any():
        return None
    angles = np.clip(_parts(points[:step] / start) * 2**TURN_BITS, -(2**15), 2**15 - 1)
    fine, coarse = np.round(angles).astype(np.int16), np.ascontiguousarray(table[::step])
    turned = _complex(coarse)[:, None] * _complex(fine)[None]
    exact = _parts(turned).reshape(-1, 2 * half)[:rows].astype(np.int64)
    residue = table - ((exact + (1 << (TURN_BITS - 1))) >> TURN_BITS)
    if np.abs(residue + 0.5).max() > 8:
        return None
    raised = np.full((len(coarse) * step, 2 * half), 8, np.uint8)
    raised[:rows] = residue + 8
    packed = (raised[:, :half] | raised[:, half:] << 4).reshape(len(coarse), step, half)
    return {"coarse": coarse, "fine": fine, "residue": packed}


def _complex(table: NDArray[np.int16]) -> NDArray[np.complex128]:
    """Cosine + i·sine; sums of two products of such integers are exact in float64."""
    half = table.shape[1] // 2
    return table[:, half:] + 1j * table[:, :half]


def _parts(points: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Sines, then cosines, along the last axis."""
    return np.concatenate([points.imag, points.real], axis=-1)
