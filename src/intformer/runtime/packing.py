"""Constants in the form kernels read: packed weights and epilogue parameters, made once per session."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intformer.ir.graph import Array


class Constants:
    """Arrays that programs of one session share, each made on first use."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self._index: dict[tuple[object, ...], int] = {}

    def get(self, key: tuple[object, ...], make: Callable[[], Array]) -> int:
        """The index of the array under ``key``, made by ``make`` if it is new."""
        if key not in self._index:
            self._index[key] = len(self.arrays)
            self.arrays.append(np.ascontiguousarray(make()))
        return self._index[key]


def channels(values: Array, count: int, lanes: int) -> Array:
    """``values`` (one or ``count`` of them) per channel, padded with zeros to whole vectors."""
    full = np.zeros(-(-count // lanes) * lanes, values.dtype)
    full[:count] = values
    return full


def split_lanes(values: Array, count: int, lanes: int) -> Array:
    """As ``channels`` for int64: within each vector the even lanes come first, then the odd ones.

    A 32 x 32 -> 64 bit multiplication works on even lanes; odd lanes are shifted down first.
    """
    full = channels(values, count, lanes)
    if lanes == 1:
        return full
    return full.reshape(-1, lanes // 2, 2).transpose(0, 2, 1).reshape(-1)


def folded_offset(offset: Array, bias: Array, multiplier: Array) -> Array:
    """bias·multiplier + offset: (acc + bias)·m + o = acc·m + (bias·m + o).

    The sum may wrap where the proof covers only the whole expression; the whole is right modulo 2^64.
    """
    wide = bias.astype(np.int64) * multiplier.astype(np.int64)
    return np.asarray(offset + wide)


def full_table(entries: Array) -> Array:
    """A table of 256 entries; those past the end are never read in a verified program."""
    full = np.zeros(256, entries.dtype)
    full[: len(entries)] = entries[:256]
    return full
