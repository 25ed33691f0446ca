"""ATen operators that move or repeat values: shifts, borders, constant indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intformer.errors import CaptureError
from intformer.frontend import shapes
from intformer.frontend.aten import Writer, maps
from intformer.ir.graph import Array, Shape


@maps("roll")
def _roll(w: Writer, input: str, shifts: Sequence[int], dims: Sequence[int] = ()) -> str:
    for shift, axis in zip(shifts, dims, strict=True):
        size = shapes.fixed(w.shape(input)[axis])
        cut = -shift % size
        if cut:
            parts = w.slice(input, axis, cut, size), w.slice(input, axis, 0, cut)
            input = w.emit("concat", *parts, axis=axis % len(w.shape(input)))
    return input


@maps("flip")
def _flip(w: Writer, input: str, dims: Sequence[int]) -> str:
    for axis in dims:
        size = shapes.fixed(w.shape(input)[axis])
        lines = [w.slice(input, axis, i, i + 1) for i in reversed(range(size))]
        input = w.emit("concat", *lines, axis=axis % len(w.shape(input)))
    return input


@maps("pad", "constant_pad_nd")
def _pad(
    w: Writer, input: str, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> str:
    """A number around, or a part cut off where a count is negative."""
    number = value or 0.0
    if mode != "constant" or (not np.isfinite(number) and (number > 0 or min(pad) < 0)):
        raise CaptureError(f"{w.path}: padding with {value if mode == 'constant' else mode}")
    if np.isfinite(number):
        return padded(w, input, pad, number)
    counts = [(0, 0)] * (len(w.shape(input)) - len(pad) // 2)
    counts += [(pad[i], pad[i + 1]) for i in reversed(range(0, len(pad), 2))]
    before, after = zip(*counts, strict=True)
    return w.emit("border", input, before=before, after=after)


def padded(w: Writer, x: str, pad: Sequence[int], number: float = 0.0) -> str:
    """``x`` with a number around: counts before and after, the last axis first."""
    for index in range(0, len(pad), 2):
        axis = len(w.shape(x)) - 1 - index // 2
        before, after = pad[index], pad[index + 1]
        size = w.shape(x)[axis]
        if before < 0 or after < 0:
            x = w.slice(x, axis, max(-before, 0), shapes.fixed(size) + min(after, 0))
        parts = [_around(w, x, axis, count, number) for count in (before, after)]
        joined = [part for part in (parts[0], x, parts[1]) if part]
        if len(joined) > 1:
            x = w.emit("concat", *joined, axis=axis)
    return x


def _around(w: Writer, x: str, axis: int, count: int, number: float) -> str:
    if count <= 0:
        return ""
    shape = w.shape(x)
    return filled(w, (*shape[:axis], count, *shape[axis + 1 :]), number)


def filled(w: Writer, shape: Shape, number: float = 0.0) -> str:
    """A value of one number, in the shape of a batch: only the first axis may have a symbol."""
    sizes = [shapes.fixed(d) for d in shape[1:]]
    each = shapes.fixed(shapes.divide(shape[:1], ("N",)))
    constant = w.constant(f"{w.path}.filled", np.full((1, each, *sizes), number))
    return w.reshape(w.emit("expand", constant, axis=0), shape)


@maps("repeat")
def _repeat(w: Writer, input: str, repeats: Sequence[int]) -> str:
    input = w.reshape(input, (1,) * (len(repeats) - len(w.shape(input))) + w.shape(input))
    for axis, count in enumerate(repeats):
        if count != 1:
            input = w.emit("concat", *[input] * count, axis=axis)
    return input


@maps("repeat_interleave")
def _repeat_interleave(
    w: Writer, input: str, repeats: int, dim: int | None = None, **_: Any
) -> str:
    """Each slice several times in a row; a batch too, as each image several times."""
    shape = w.shape(input)
    if not isinstance(repeats, int) or dim is None:
        raise CaptureError(f"{w.path}: repeat_interleave by computed counts or without an axis")
    axis = dim % len(shape) + 1
    apart = w.reshape(input, (*shape[:axis], 1, *shape[axis:]))
    return w.reshape(w.emit("concat", *[apart] * repeats, axis=axis), w.result)


@maps("expand", "expand_as", "broadcast_to")
def _expand(w: Writer, input: str, **_: Any) -> str:
    """A computed value repeated along fixed axes of 1."""
    result = w.result
    shape = (1,) * (len(result) - len(w.shape(input))) + w.shape(input)
    input = w.reshape(input, shape)
    for axis, (old, new) in enumerate(zip(shape, result, strict=True)):
        if old != new and old != 1:
            raise CaptureError(f"{w.path}: expand of {list(shape)} to {list(result)}")
        if old != new:
            input = w.emit("concat", *[input] * shapes.fixed(new), axis=axis)
    return input


@maps("index_select")
def _index_select(w: Writer, input: str, dim: int, index: str) -> str:
    chosen = w.array(index)
    if chosen is None:
        raise CaptureError(f"{w.path}: index_select with a computed index")
    return _gathered(w, input, dim % len(w.shape(input)), chosen.reshape(-1))


@maps("index")
def _index(w: Writer, input: str, indices: Sequence[str | None]) -> str:
    """``x[:, index]`` with one constant index."""
    given = [(axis, x) for axis, x in enumerate(indices) if x is not None]
    chosen = w.array(given[0][1]) if len(given) == 1 else None
    if chosen is None:
        raise CaptureError(f"{w.path}: indexing with computed or several indices")
    axis, shape = given[0][0], w.shape(input)
    result = _gathered(w, input, axis, chosen.reshape(-1))
    return w.reshape(result, (*shape[:axis], *chosen.shape, *shape[axis + 1 :]))


def _gathered(w: Writer, x: str, axis: int, index: Array) -> str:
    """Slices of neighbours, put together."""
    index = np.where(index < 0, index + shapes.fixed(w.shape(x)[axis]), index)
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    runs = np.split(index, cuts)
    parts = [w.slice(x, axis, int(run[0]), int(run[-1]) + 1) for run in runs]
    return parts[0] if len(parts) == 1 else w.emit("concat", *parts, axis=axis)


@maps("pixel_shuffle")
def _pixel_shuffle(w: Writer, input: str, upscale_factor: int) -> str:
    n, channels, height, width = w.shape(input)
    r = upscale_factor
    apart = (n, shapes.fixed(channels) // r**2, r, r, height, width)
    return w.reshape(w.transpose(w.reshape(input, apart), (0, 1, 4, 2, 5, 3)), w.result)


@maps("copy")
def _copy(w: Writer, input: str, src: str, **_: Any) -> str:
    """What is assigned to a part, in the part's shape."""
    return _expand(w, src)


@maps("slice_scatter")
def _slice_scatter(
    w: Writer,
    input: str,
    src: str,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> str:
    """``x[start:end] = src`` along one axis, as a new value."""
    shape = w.shape(input)
    axis, size = dim % len(shape), shape[dim]
    whole = not start and (end is None or end >= (_END if isinstance(size, str) else size))
    if step != 1:
        raise CaptureError(f"{w.path}: assignment to every {step}th element")
    if whole:
        return src
    first, last, _ = slice(start, end).indices(shapes.fixed(size))
    parts = [src]
    if first > 0:
        parts.insert(0, w.slice(input, axis, 0, first))
    if last < shapes.fixed(size):
        parts.append(w.slice(input, axis, last, shapes.fixed(size)))
    return w.emit("concat", *parts, axis=axis)


@maps("select_scatter")
def _select_scatter(w: Writer, input: str, src: str, dim: int, index: int) -> str:
    """``x[index] = src`` along one axis, as a new value."""
    shape = w.shape(input)
    one = w.reshape(src, (*shape[:dim], 1, *shape[dim + 1 :]))
    index %= shapes.fixed(shape[dim])
    return _slice_scatter(w, input, one, dim, index, index + 1)


_END = 2**63 - 1
