"""ATen operators that pool: averages and maxima over windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intformer.errors import CaptureError
from intformer.frontend import shapes
from intformer.frontend.aten import Writer, maps
from intformer.frontend.aten_windows import pair
from intformer.ir.graph import Array


@maps("avg_pool2d")
def _avg_pool2d(
    w: Writer,
    input: str,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> str:
    kernel, step, around = pair(kernel_size), pair(stride or kernel_size), pair(padding)
    _refuse_ceil(w, input, kernel, {"stride": step, "padding": around}, ceil_mode)
    if divisor_override:
        raise CaptureError(f"{w.path}: average pooling with a divisor of its own")
    result = average(w, input, kernel, step, around)
    if count_include_pad or not any(around):
        return result
    border = _border(w, input, kernel, {"stride": step, "padding": around})
    return w.emit("mul", result, w.constant(f"{w.path}.border", border))


@maps("avg_pool1d")
def _avg_pool1d(
    w: Writer,
    input: str,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
) -> str:
    """As an image of one row."""
    n, channels, length = w.shape(input)
    row = w.reshape(input, (n, channels, 1, length))
    kernel, step = (1, *kernel_size), (1, *(stride or kernel_size))
    pooled = _avg_pool2d(w, row, kernel, step, (0, *padding), ceil_mode, count_include_pad, None)
    return w.reshape(pooled, w.result)


def average(
    w: Writer, x: str, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> str:
    """The mean of each window, zeros around the image included."""
    channels = shapes.fixed(w.shape(x)[1])
    share = np.full((channels, *kernel), 1 / (kernel[0] * kernel[1]))
    weight = w.constant(f"{w.path}.share", share)
    return w.emit("depthwise", x, weight, stride=tuple(stride), padding=tuple(padding))


def _border(w: Writer, x: str, kernel: tuple[int, ...], attrs: dict[str, Any]) -> Array:
    """Elements of a window over those of them inside the image, [H', W']."""
    lines = []
    for axis in (0, 1):
        size, pad = shapes.fixed(w.shape(x)[2 + axis]), attrs["padding"][axis]
        starts = np.arange(0, size + 2 * pad - kernel[axis] + 1, attrs["stride"][axis]) - pad
        inside = np.minimum(starts + kernel[axis], size) - np.maximum(starts, 0)
        lines.append(kernel[axis] / inside)
    border: Array = np.multiply.outer(*lines)
    return border


def _refuse_ceil(
    w: Writer, x: str, kernel: tuple[int, ...], attrs: dict[str, Any], ceil_mode: bool
) -> None:
    sizes = [shapes.fixed(d) for d in w.shape(x)[2:]]
    steps = zip(sizes, kernel, attrs["stride"], attrs["padding"], strict=True)
    if ceil_mode and any((d + 2 * p - k) % s for d, k, s, p in steps):
        raise CaptureError(f"{w.path}: pooling with windows that are cut off at the border")


@maps("max_pool2d")
def _max_pool2d(
    w: Writer,
    input: str,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> str:
    kernel = pair(kernel_size)
    attrs = {"stride": pair(stride or kernel_size), "padding": pair(padding)}
    _refuse_ceil(w, input, kernel, attrs, ceil_mode)
    if any(d != 1 for d in dilation):
        raise CaptureError(f"{w.path}: pooling with dilation")
    return w.emit_with("max_pool", [input], {"kernel": kernel, **attrs})


@maps("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(w: Writer, input: str, output_size: Sequence[int]) -> str:
    sizes = [shapes.fixed(d) for d in w.shape(input)[2:]]
    if list(output_size) == [1, 1]:
        return w.mean(input, (2, 3), True)
    if any(size % out for size, out in zip(sizes, output_size, strict=True)):
        raise CaptureError(f"{w.path}: pooling of {sizes} to {list(output_size)}")
    kernel = [size // out for size, out in zip(sizes, output_size, strict=True)]
    return average(w, input, kernel, kernel, (0, 0))


@maps("adaptive_avg_pool1d")
def _adaptive_avg_pool1d(w: Writer, input: str, output_size: Sequence[int]) -> str:
    if list(output_size) != [1]:
        raise CaptureError(f"{w.path}: pooling to {list(output_size)}; only to 1 is supported")
    return w.mean(input, (-1,), True)
