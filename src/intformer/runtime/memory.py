"""Memory of a plan: storages with lifetimes, placed into one arena."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from intformer.ir.graph import Array

ALIGNMENT = 64
"""Of whatever kernels read or write in vectors, so that no vector lies in two cache lines."""

SLACK = 64
"""Bytes after each storage that vector loads may read."""


def aligned_empty(shape: tuple[int, ...], dtype: str | np.dtype[Any]) -> Array:
    """An array without content whose first byte lies at a multiple of ``ALIGNMENT``."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -address(memory) % ALIGNMENT
    return memory[start : start + size].view(kind).reshape(shape)


def address(array: Array) -> int:
    """Where the first byte of ``array`` lies."""
    return int(array.__array_interface__["data"][0])


class Kind(IntEnum):
    """Where a storage lives; the numbers are those of the native ``Slot::Kind``."""

    ARENA = 0
    INPUT = 1
    OUTPUT = 2
    CONSTANT = 3


@dataclass
class Storage:
    """A piece of memory; ``base``: arena offset, or index of an input, output or constant."""

    kind: Kind
    nbytes: int
    base: int = 0
    first: int = field(default=2**62)
    last: int = -1

    def touch(self, step: int) -> None:
        """Record that step number ``step`` reads or writes this storage."""
        self.first, self.last = min(self.first, step), max(self.last, step)

    def overlaps(self, other: Storage) -> bool:
        """Whether both are alive during some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Location:
    """A place inside a storage."""

    storage: Storage
    offset: int = 0


def place(storages: list[Storage]) -> int:
    """Give every arena storage its offset and return the size of the arena.

    Largest first, each at the lowest offset where it meets no storage that is alive with it
    (greedy by size; Pisarchyk and Lee, arXiv 2001.03288).
    """
    placed: list[Storage] = []
    total = 0
    for storage in sorted(storages, key=lambda s: -s.nbytes):
        size = _padded(storage)
        offset = 0
        for other in sorted((p for p in placed if p.overlaps(storage)), key=lambda p: p.base):
            if other.base - offset >= size:
                break
            offset = max(offset, other.base + _padded(other))
        storage.base = offset
        placed.append(storage)
        total = max(total, offset + size)
    return total


def _padded(storage: Storage) -> int:
    return -(-(storage.nbytes + SLACK) // ALIGNMENT) * ALIGNMENT
