"""Constants as kernels read them: packed weights and epilogue parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from intformer.arith import SATURATION
from intformer.ir.graph import Array, Node
from intformer.ir.operators import evaluate
from intformer.ir.stored import BLOCK_WEIGHTS
from intformer.reference.primitives import NumpyPrimitives
from intformer.runtime.memory import ALIGNMENT, address, aligned_empty

T = TypeVar("T")

RELEASE_BYTES = 2**16
"""Constants of this size are worth a system call."""


class Constants:
    """Arrays that programs of one session share, each made on first use.

    None of them is a view of what it was made from, so that this may change or go. ``release`` is
    called after large ones are made.
    """

    def __init__(self, release: Callable[[], None] = lambda: None) -> None:
        self._release = release
        self.arrays: list[Array] = []
        self.notes: dict[tuple[object, ...], Any] = {}
        self._index: dict[tuple[object, ...], int] = {}

    def note(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """A decision about the constants, taken once."""
        if key not in self.notes:
            self.notes[key] = make()
        return cast(T, self.notes[key])

    def get(self, key: tuple[object, ...], make: Callable[[], Array]) -> int:
        """The index of the array under ``key``, made by ``make`` if it is new."""
        if key not in self._index:
            self._index[key] = len(self.arrays)
            made = make()
            self.arrays.append(made if _fit_for_kernels(made) else _aligned_copy(made))
            if made.nbytes >= RELEASE_BYTES:
                self._release()
        return self._index[key]


def _fit_for_kernels(array: Array) -> bool:
    """Whether ``array`` is dense, aligned, and no view of a file (which cannot be written)."""
    dense = array.flags.writeable and array.flags.c_contiguous
    return dense and address(array) % ALIGNMENT == 0


def _aligned_copy(array: Array) -> Array:
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def channels(values: Array, count: int, lanes: int) -> Array:
    """``values`` (one or ``count`` of them) per channel, padded with zeros to whole vectors and by
    one more: kernels load the odd lanes of a vector a value further.
    """
    full = np.zeros(-(-count // lanes) * lanes + 1, values.dtype)
    full[:count] = values
    return full


def wide_channels(values: Array, count: int, lanes: int, split: bool) -> Array:
    """As ``channels`` for int64; ``split``: the even lanes of a vector first, then the odd ones.

    The 32 x 32 -> 64 bit multiplication of x86 works on even lanes; odd lanes are shifted down
    first. That of Arm takes neighbours.
    """
    full = channels(values, count, lanes)[:-1]
    if not split:
        return full
    return full.reshape(-1, lanes // 2, 2).transpose(0, 2, 1).reshape(-1)


def folded_offset(offset: Array, bias: Array, multiplier: Array) -> Array:
    """bias·multiplier + offset: (acc + bias)·m + o = acc·m + (bias·m + o).

    The sum may wrap: the proof covers the whole expression, which is right modulo 2^64.
    """
    wide = bias.astype(np.int64) * multiplier.astype(np.int64)
    return np.asarray(offset + wide)


def full_table(entries: Array) -> Array:
    """A table of 256 entries; those past the end are never read in a verified program."""
    full = np.zeros(256, entries.dtype)
    full[: len(entries)] = entries[:256]
    return full


def row_tables(node: Node) -> Array:
    """256 tables of a function of a byte and of the largest byte of its row, by that byte."""
    levels = np.arange(256, dtype=np.uint8)
    rows = np.minimum(levels[None, :], levels[:, None])
    return np.asarray(evaluate(NumpyPrimitives(), node, [rows]))


def clipped_levels(dtype: str) -> Array:
    """The table that clips a byte to the levels of ``dtype``, for example 16 of ``uint4``."""
    return np.minimum(np.arange(256), SATURATION[dtype][1]).astype(np.uint8)


@dataclass(frozen=True)
class Layout:
    """How a weight [K, O] is packed: as [O/lanes][K/group][lanes][group] of ``dtype``.

    K is padded with zeros to a multiple of ``multiple``, O to whole vectors.
    """

    group: int
    multiple: int
    dtype: type[np.signedinteger[Any]] = np.int8


def pack_weight(weight: Array, lanes: int, layout: Layout) -> Array:
    """``weight`` int8 [K, O] in ``layout``, flat."""
    rows, columns = weight.shape
    shape = (-(-rows // layout.multiple) * layout.multiple, -(-columns // lanes) * lanes)
    full = weight.astype(layout.dtype, copy=False)
    if shape != weight.shape:
        full = np.zeros(shape, layout.dtype)
        full[:rows, :columns] = weight
    blocks = full.reshape(-1, layout.group, shape[1] // lanes, lanes)
    return _aligned_copy(blocks.transpose(2, 0, 3, 1)).reshape(-1)


BLOCK_DEPTH = 32
"""Weights of 4 bits along K that share a multiplier in a kernel."""


def pack_nibbles(packed: Array, multiplier: Array, rows: int, lanes: int) -> Array:
    """The operands of ``arith.unpack4`` as kernels read them: panels of ``lanes`` columns, flat.

    A panel holds, per block of 32 rows, bytes [4][lanes][4] (the low halves are rows 8i..8i+3 of
    the block, the high halves 8i+4..8i+7), then a multiplier [lanes] per block, then zeros up to
    whole vectors.
    """
    blocks, panels = -(-rows // BLOCK_DEPTH), -(-len(packed) // lanes)
    size = -(-blocks * (BLOCK_DEPTH // 2 + 1) // 4) * 4 * lanes
    full = aligned_empty((panels, size), "uint8")
    together = max(1, BLOCK_WEIGHTS // (blocks * BLOCK_DEPTH * lanes))
    for first in range(0, panels, together):
        columns = slice(first * lanes, (first + together) * lanes)
        panel = full[first : first + together]
        _pack_panels(packed[columns], multiplier[columns], rows, lanes, panel)
    return full.reshape(-1)


def _pack_panels(packed: Array, multiplier: Array, rows: int, lanes: int, panels: Array) -> None:
    """Write ``panels`` [P, bytes] of up to P·lanes columns."""
    columns, groups, half = packed.shape
    blocks, count = -(-rows // BLOCK_DEPTH), len(panels)
    levels = np.full((count * lanes, blocks * BLOCK_DEPTH), 8, np.uint8)
    halves = np.concatenate([packed & 15, packed >> 4], 2).reshape(columns, -1)
    levels[:columns, :rows] = halves[:, :rows]
    parts = levels.reshape(count, lanes, blocks, 4, 2, 4)
    pairs = (parts[..., 0, :] | parts[..., 1, :] << 4).transpose(0, 2, 3, 1, 4)
    owners = np.arange(blocks) * BLOCK_DEPTH // (2 * half) if groups > 1 else np.zeros(blocks, int)
    factors = np.zeros((count * lanes, blocks), np.int8)
    factors[:columns] = multiplier[:, owners]
    by_block = factors.reshape(count, lanes, blocks).transpose(0, 2, 1)
    weights, used = pairs[0].size, pairs[0].size + blocks * lanes
    panels[:, :weights] = pairs.reshape(count, -1)
    panels[:, weights:used] = by_block.reshape(count, -1).view(np.uint8)
    panels[:, used:] = 0
