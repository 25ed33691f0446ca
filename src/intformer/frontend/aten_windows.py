"""ATen operators that slide a window: convolutions, windows as columns, resizing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from intformer.errors import CaptureError
from intformer.frontend import shapes
from intformer.frontend.aten import Writer, every, maps
from intformer.frontend.aten_moves import filled, padded
from intformer.ir.graph import Array

MOST_JOINED = 256
"""Channels that groups of a 1 x 1 convolution may have together in one product."""


@maps("conv2d", "conv1d")
def _convolution(
    w: Writer,
    input: str,
    weight: str,
    bias: str | None,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
    **_: Any,
) -> str:
    """Along one axis too, as an image of one row."""
    kernel = w.array(weight)
    if kernel is None:
        raise CaptureError(f"{w.path}: convolution with computed weights")
    if kernel.ndim == 3:
        kernel = kernel[:, :, None]
        n, channels, length = w.shape(input)
        input = w.reshape(input, (n, channels, 1, length))
        weight, stride, dilation = w.constant(weight, kernel), (1, *stride), (1, *dilation)
        padding = padding if isinstance(padding, str) else (0, *padding)
    if any(d != 1 for d in dilation):
        kernel = _dilated(kernel, pair(dilation))
        weight = w.constant(weight, kernel)
    if isinstance(padding, str):
        padding = _named_padding(w, padding, kernel)
    attrs = {"stride": pair(stride), "padding": pair(padding)}
    b = w.array(bias) if bias else None
    return w.reshape(convolved(w, input, kernel, b, weight, groups, attrs), w.result)


def convolved(
    w: Writer,
    x: str,
    kernel: Array,
    bias: Array | None,
    name: str,
    groups: int,
    attrs: dict[str, Any],
) -> str:
    """A convolution [N, C, H, W] -> [N, O, H', W'] with kernel [O, C / groups, kh, kw]."""
    if groups == 1:
        weight = w.constant(name, kernel)
        extra = [] if bias is None else [w.constant(f"{name}.bias", bias)]
        return w.emit_with("conv2d", [x, weight, *extra], attrs)
    if groups == w.shape(x)[1]:
        return _depthwise(w, x, kernel, bias, name, attrs)
    return _grouped(w, x, kernel, bias, name, groups, attrs)


@maps("convolution")
def _any_convolution(
    w: Writer, input: str, transposed: bool, output_padding: Sequence[int], **arguments: Any
) -> str:
    if transposed:
        return _transposed(w, input, output_padding=output_padding, **arguments)
    return _convolution(w, input, **arguments)


@maps("conv_transpose2d")
def _transposed(
    w: Writer,
    input: str,
    weight: str,
    bias: str | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
) -> str:
    """A transposed convolution: zeros between the pixels, then an ordinary one, kernel turned."""
    kernel = w.array(weight)
    if kernel is None or kernel.ndim != 4 or any(d != 1 for d in dilation):
        raise CaptureError(f"{w.path}: transposed convolution with dilation or computed weights")
    x = _spread(w, input, pair(stride))
    around: list[int] = []
    for axis in (1, 0):
        before = kernel.shape[2 + axis] - 1 - pair(padding)[axis]
        around += [before, before + pair(output_padding)[axis]]
    x = padded(w, x, around)
    channels, out, *size = kernel.shape
    apart = kernel.reshape(groups, channels // groups, out, *size).swapaxes(1, 2)
    turned = apart.reshape(groups * out, channels // groups, *size)[:, :, ::-1, ::-1]
    b = w.array(bias) if bias else None
    attrs = {"stride": (1, 1), "padding": (0, 0)}
    return convolved(w, x, np.ascontiguousarray(turned), b, weight, groups, attrs)


def _spread(w: Writer, x: str, stride: tuple[int, ...]) -> str:
    """Zeros between neighbours: [N, C, H, W] -> [N, C, (H - 1)·s + 1, (W - 1)·s + 1]."""
    for axis in (2, 3):
        shape, step = w.shape(x), stride[axis - 2]
        if step > 1:
            size = shapes.fixed(shape[axis])
            apart = w.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
            tail = (0, 0) * (len(shape) - 1 - axis)
            wide = padded(w, apart, (*tail, 0, step - 1))
            whole = w.reshape(wide, (*shape[:axis], size * step, *shape[axis + 1 :]))
            x = w.slice(whole, axis, 0, (size - 1) * step + 1)
    return x


def pair(values: Sequence[int]) -> tuple[int, ...]:
    """Both sizes of what may be given as one."""
    return tuple(values) * (2 if len(values) == 1 else 1)


def _dilated(kernel: Array, dilation: tuple[int, ...]) -> Array:
    """The kernel with zeros between its weights."""
    out, channels, *size = kernel.shape
    full = [(s - 1) * d + 1 for s, d in zip(size, dilation, strict=True)]
    spread = np.zeros((out, channels, *full), kernel.dtype)
    spread[:, :, :: dilation[0], :: dilation[1]] = kernel
    return spread


def _named_padding(w: Writer, padding: str, kernel: Array) -> tuple[int, ...]:
    sizes = kernel.shape[2:]
    if padding == "valid":
        return (0, 0)
    if any(size % 2 == 0 for size in sizes):
        raise CaptureError(f"{w.path}: padding {padding!r} of an even kernel is not symmetric")
    return tuple(size // 2 for size in sizes)


def _depthwise(
    w: Writer, x: str, kernel: Array, bias: Array | None, name: str, attrs: dict[str, Any]
) -> str:
    """One convolution per channel; with several outputs per channel one for each of them."""
    channels = shapes.fixed(w.shape(x)[1])
    several = len(kernel) // channels
    parts = []
    for index in range(several):
        weight = w.constant(name, kernel[index::several, 0])
        extra = [] if bias is None else [w.constant(f"{name}.bias", bias[index::several])]
        parts.append(w.emit_with("depthwise", [x, weight, *extra], attrs))
    if several == 1:
        return parts[0]
    n, _, height, width = w.shape(parts[0])
    apart = [w.reshape(part, (n, channels, 1, height, width)) for part in parts]
    joined = w.emit("concat", *apart, axis=2)
    return w.reshape(joined, (n, channels * several, height, width))


def _grouped(
    w: Writer,
    x: str,
    kernel: Array,
    bias: Array | None,
    name: str,
    groups: int,
    attrs: dict[str, Any],
) -> str:
    """A convolution for each group of channels, or for several of them together."""
    kernel, groups = _together(kernel, groups)
    if groups == 1:
        return convolved(w, x, kernel, bias, name, groups, attrs)
    width, out = kernel.shape[1], len(kernel) // groups
    parts = []
    for g in range(groups):
        piece, rows = w.slice(x, 1, g * width, (g + 1) * width), slice(g * out, (g + 1) * out)
        extra = [] if bias is None else [w.constant(f"{name}.bias", bias[rows])]
        weight = w.constant(name, kernel[rows])
        parts.append(w.emit_with("conv2d", [piece, weight, *extra], attrs))
    return w.emit("concat", *parts, axis=1)


def _together(kernel: Array, groups: int) -> tuple[Array, int]:
    """Groups of 1 x 1 convolutions joined up to ``MOST_JOINED`` channels, zeros between them: one
    product with zeros takes less time than a slice, a product and a copy for each group."""
    out, width, *size = kernel.shape
    if tuple(size) != (1, 1):
        return kernel, groups
    wanted = max(1, MOST_JOINED // width)
    joined = next(n for n in range(min(wanted, groups), 0, -1) if groups % n == 0)
    apart = kernel.reshape(groups // joined, joined, out // groups, width)
    wide = np.zeros((groups // joined, joined, out // groups, joined, width), kernel.dtype)
    for index in range(joined):
        wide[:, index, :, index] = apart[:, index]
    return wide.reshape(out, joined * width, 1, 1), groups // joined


@maps("im2col")
def _im2col(
    w: Writer,
    input: str,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> str:
    """Windows as columns: [N, C, H, W] -> [N, C·kh·kw, positions]."""
    if any(d != 1 for d in dilation):
        raise CaptureError(f"{w.path}: windows with dilation")
    (kh, kw), (sh, sw) = pair(kernel_size), pair(stride)
    (ph, pw) = pair(padding)
    x = padded(w, input, (pw, pw, ph, ph))
    n, channels, height, width = w.shape(x)
    rows, columns = (shapes.fixed(height) - kh) // sh + 1, (shapes.fixed(width) - kw) // sw + 1
    parts = []
    for i in range(kh):
        band = every(w, w.slice(x, 2, i, i + (rows - 1) * sh + 1), 2, sh)
        for j in range(kw):
            piece = every(w, w.slice(band, 3, j, j + (columns - 1) * sw + 1), 3, sw)
            parts.append(w.reshape(piece, (n, channels, 1, rows * columns)))
    return w.reshape(w.emit("concat", *parts, axis=2), w.result)


@maps("col2im")
def _col2im(
    w: Writer,
    input: str,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> str:
    """Columns back to windows, summed where they overlap: [N, C·kh·kw, positions] -> an image.

    Pixels whose place in the stride's grid is the same get their terms from the same elements of
    the kernel: each such phase is a sum of shifted pieces, and the phases interleave.
    """
    if any(d != 1 for d in dilation):
        raise CaptureError(f"{w.path}: windows with dilation")
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride), pair(padding)
    height, width = output_size
    rows, columns = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    n, channels = w.shape(input)[0], shapes.fixed(w.shape(input)[1]) // (kh * kw)
    x = w.reshape(input, (n, channels, kh * kw, rows, columns))
    down, across = -(-(height + 2 * ph) // sh), -(-(width + 2 * pw) // sw)
    phases = []
    for a, b in itertools.product(range(sh), range(sw)):
        total = ""
        for i, j in itertools.product(range(a, kh, sh), range(b, kw, sw)):
            left, top = j // sw, i // sh
            around = (left, across - columns - left, top, down - rows - top)
            piece = padded(w, w.select(x, 2, i * kw + j), around)
            total = w.emit("add", total, piece) if total else piece
        total = total or filled(w, (n, channels, down, across))
        phases.append(w.reshape(total, (n, channels, 1, down, across)))
    apart = w.reshape(w.emit("concat", *phases, axis=2), (n, channels, sh, sw, down, across))
    mixed = w.transpose(apart, (0, 1, 4, 2, 5, 3))
    whole = w.reshape(mixed, (n, channels, down * sh, across * sw))
    return w.slice(w.slice(whole, 2, ph, ph + height), 3, pw, pw + width)


@maps("upsample_bilinear2d", "upsample_bicubic2d", "upsample_nearest2d")
def _upsample(
    w: Writer, input: str, align_corners: bool | None = None, antialias: bool = False, **_: Any
) -> str:
    """Resizing is a fixed matrix along each axis."""
    kind = next(m for m in ("bilinear", "bicubic", "nearest") if m in w.operator)
    for axis in (2, 3):
        old, new = shapes.fixed(w.shape(input)[axis]), shapes.fixed(w.result[axis])
        line = torch.eye(old)[None, :, :, None].expand(1, old, old, 1)
        options = {} if kind == "nearest" else {"align_corners": bool(align_corners)}
        grown = F.interpolate(line, (new, 1), mode=kind, **options)[0, :, :, 0]
        weight = w.constant(f"{w.path}.resize", grown.T.contiguous().numpy())
        perm = (0, 1, 3, 2) if axis == 2 else (0, 1, 2, 3)
        input = w.transpose(w.emit("linear", w.transpose(input, perm), weight), perm)
    return input
