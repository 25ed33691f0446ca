"""Operands in the form that native steps take: broadcast, widened, copied."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from intformer.runtime.memory import Location
from intformer.runtime.packing import channels
from intformer.runtime.plan import DTYPE_CODES, ITEM_SIZE, Builder


def strides_of(shape: tuple[int, ...]) -> list[int]:
    """Row-major strides in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def copy_step(
    builder: Builder,
    source: Location,
    target: Location,
    item: int,
    dims: tuple[int, ...],
    strides: list[int],
    target_strides: list[int],
) -> None:
    lead = dims[0] if dims else 1
    rank, line, origin = (len(dims), list(dims), []) if dims else (1, [1], [1])
    numbers = [lead, item, rank, *line, *(strides or origin), *(target_strides or origin)]
    builder.step("copy", [source, target], numbers)


def broadcast_strides(shape: tuple[int, ...], target: tuple[int, ...]) -> list[int]:
    """Strides that read ``shape`` as if it were ``target``."""
    padded = (1,) * (len(target) - len(shape)) + shape
    return [
        0 if p == 1 and t != 1 else s
        for p, t, s in zip(padded, target, strides_of(padded), strict=True)
    ]


def walk(dims: Sequence[int], *strides: Sequence[int]) -> list[int]:
    """Rank, dimensions and strides of a loop over ``dims``, with as few dimensions as there can be.

    Dimensions that all operands step through as through one become one.
    """
    found: list[tuple[int, ...]] = []
    for size, *steps in zip(dims, *strides, strict=True):
        if size == 1:
            continue
        if found and all(
            before == size * step for before, step in zip(found[-1][1:], steps, strict=True)
        ):
            found[-1] = (found[-1][0] * size, *steps)
        else:
            found.append((size, *steps))
    columns = zip(*found, strict=True) if found else [()] * (1 + len(strides))
    return [len(found), *(value for column in columns for value in column)]


def materialised(builder: Builder, name: str, target: tuple[int, ...]) -> Location:
    """The value ``name`` broadcast to ``target`` in memory."""
    if builder.shape(name) == target:
        return builder.locate(name)
    item = ITEM_SIZE[builder.dtype(name)]
    copy = builder.scratch(math.prod(target) * item)
    strides = broadcast_strides(builder.shape(name), target)
    copy_step(builder, builder.locate(name), copy, item, target, strides, strides_of(target))
    return copy


def as_int16(builder: Builder, name: str) -> Location:
    """The value ``name`` as int16; an int8 one is widened as (2·x) >> 1."""
    if builder.dtype(name) == "int16":
        return builder.locate(name)
    shape = builder.shape(name)
    wide = builder.scratch(2 * math.prod(shape))
    builder.step("rescale", *_doubled(builder, shape, builder.locate(name), wide, _BYTES))
    return wide


def clip_wide(builder: Builder, name: str) -> None:
    """Clip the int32 value ``name`` to 20 bits in place, as (2·x) >> 1."""
    shape = builder.shape(name) or (1,)
    builder.step(
        "rescale", *_doubled(builder, shape, builder.locate(name), builder.locate(name), _WIDE)
    )


_BYTES, _WIDE = ("int8", "int8", "int16"), ("int32", "int32", "int20")


def _doubled(
    builder: Builder, shape: tuple[int, ...], x: Location, out: Location, types: tuple[str, ...]
) -> tuple[list[Location | None], list[int]]:
    """Places and numbers of a rescale step that keeps every value: (2·x) >> 1."""
    width, rows, lanes = shape[-1], math.prod(shape[:-1]), builder.machine.lanes
    two, zero = np.full(1, 2, np.int32), np.zeros(1, np.int64)
    factor = builder.constant(("twice", width), lambda: channels(two, width, lanes))
    offset = builder.constant(("nothing", width), lambda: channels(zero, width, lanes))
    codes = [DTYPE_CODES[dtype] for dtype in types]
    return [x, None, out, factor, None, offset], [rows, width, 1, *codes, 1, rows, width, width]
