"""ATen operators over axes and of single values: maxima, sums, norms, activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intformer.errors import CaptureError
from intformer.frontend import shapes
from intformer.frontend.aten import Writer, maps
from intformer.ir.constraints import MAX_CHANNELS


@maps("amax")
def _amax(w: Writer, input: str, dim: Sequence[int], keepdim: bool = False) -> str:
    return largest(w, input, dim, keepdim)


def largest(w: Writer, x: str, axes: Sequence[int], keepdims: bool) -> str:
    """The maximum over some axes."""
    for axis in sorted((d % len(w.shape(x)) for d in axes), reverse=True):
        x = w.emit("max", x, axis=axis, keepdims=keepdims)
    return x


@maps("max")
def _max(w: Writer, input: str, dim: int | None = None, keepdim: bool = False) -> list[str]:
    if dim is None:
        raise CaptureError(f"{w.path}: maximum over all axes would mix the samples of a batch")
    return [largest(w, input, [dim], keepdim)]


@maps("sum")
def _sum(
    w: Writer, input: str, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> str:
    if not dim:
        raise CaptureError(f"{w.path}: sum over all axes would mix the samples of a batch")
    rank = len(w.shape(input))
    if (
        keepdim
        and dim
        and [d % rank for d in dim] == [rank - 1]
        and isinstance(w.shape(input)[-1], str)
    ):
        return w.emit("total", input)
    return total(w, input, dim, keepdim)


def total(w: Writer, x: str, axes: Sequence[int], keepdims: bool) -> str:
    """The sum over fixed axes, as a multiple of the mean."""
    sizes = [shapes.fixed(w.shape(x)[axis]) for axis in axes]
    mean = w.mean(x, tuple(axes), keepdims)
    return w.emit("scale", mean, factor=float(np.prod(sizes)))


@maps("group_norm")
def _group_norm(
    w: Writer,
    input: str,
    num_groups: int,
    weight: str | None,
    bias: str | None,
    eps: float,
    **_: Any,
) -> str:
    """Normalised over the channels of a group and all positions, then scaled per channel."""
    n, channels, *rest = w.shape(input)
    gain, offset = (w.array(name) if name else None for name in (weight, bias))
    size = shapes.fixed(channels) // num_groups * int(np.prod([shapes.fixed(d) for d in rest]))
    if size > MAX_CHANNELS:
        return _large_group_norm(w, input, num_groups, gain, offset, eps)
    flat = w.reshape(input, (n, num_groups, size))
    one, zero = w.constant("one", np.ones(size)), w.constant("zero", np.zeros(size))
    value = w.reshape(w.emit("layer_norm", flat, one, zero, eps=eps), (n, channels, *rest))
    for op, name, array in (("mul", weight, gain), ("add", bias, offset)):
        if array is not None and name:
            vector = w.constant(name, array.reshape(-1, *(1,) * len(rest)))
            value = w.emit(op, value, vector)
    return value


def _large_group_norm(
    w: Writer, input: str, groups: int, gain: Any | None, bias: Any | None, eps: float
) -> str:
    """Groups of any size in single operators, channels last: (x - mean) / √(variance + eps).

    What is known of a group is spread over its channels, so that all else works on rows of them.
    """
    n, channels, *rest = w.shape(input)
    count, last = shapes.fixed(channels), 1 + len(rest)
    turned = w.emit("transpose", input, perm=(0, *range(2, last + 1), 1))
    x = w.reshape(turned, (n, shapes.product(tuple(rest)), count))

    def spread(value: str, op: str, number: float) -> str:
        """The mean over each group, joined with a number."""
        grouped = w.reshape(w.mean(value, (1,), True), (n, 1, groups, count // groups))
        numbers = w.constant(f"{w.path}.{op}", np.full((groups, count // groups), number))
        return w.reshape(w.emit(op, w.mean(grouped, (3,), True), numbers), (n, 1, count))

    centred = w.emit("add", x, spread(x, "mul", -1.0))
    bounded = spread(w.emit("mul", centred, centred), "add", eps)
    value = w.emit("div", centred, w.emit("sqrt", bounded))
    if gain is not None or bias is not None:
        factors = np.ones(count) if gain is None else gain
        offsets = np.zeros(count) if bias is None else bias
        parameters = w.constant(f"{w.path}.gain", factors), w.constant(f"{w.path}.bias", offsets)
        value = w.emit("rescale", value, *parameters)
    whole = w.reshape(value, (n, *rest, channels))
    return w.emit("transpose", whole, perm=(0, last, *range(1, last)))


@maps("linalg_vector_norm")
def _vector_norm(
    w: Writer,
    input: str,
    ord: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    **_: Any,
) -> str:
    if ord != 2 or not dim:
        raise CaptureError(f"{w.path}: norm of order {ord} over {dim}")
    return w.emit("sqrt", total(w, w.emit("mul", input, input), dim, keepdim))


@maps(
    "clamp_min", "clamp", "hardtanh", "relu6", "clip", "clamp_", "hardtanh_", "relu6_", "clamp_min_"
)
def _clamp(
    w: Writer,
    input: str,
    min: float | str | None = None,
    max: float | str | None = None,
    min_val: float = -1.0,
    max_val: float = 1.0,
) -> str:
    low, high = (min, max) if w.operator.startswith("cl") else (min_val, max_val)
    if w.operator.startswith("relu6"):
        low, high = 0.0, 6.0
    return w.emit("clamp", input, low=_bound(w, low, -1e30), high=_bound(w, high, 1e30))


def _bound(w: Writer, stated: float | str | None, none: float) -> float:
    """A bound of a clamp, which may be a buffer with one number; ``none`` where there is none."""
    if not isinstance(stated, str):
        return none if stated is None else float(stated)
    array = w.array(stated)
    if array is None or array.size != 1:
        raise CaptureError(f"{w.path}: clamp with bounds that are computed, or differ by element")
    number = float(array.reshape(()))
    return number if abs(number) < 1e30 else none


@maps("leaky_relu", "leaky_relu_")
def _leaky_relu(w: Writer, input: str, negative_slope: float) -> str:
    return w.emit("leaky_relu", input, slope=negative_slope)


@maps("elu", "elu_")
def _elu(w: Writer, input: str, alpha: float, **_: Any) -> str:
    return w.emit("elu", input, alpha=alpha)


@maps("softplus")
def _softplus(w: Writer, input: str, beta: float = 1, threshold: float = 20) -> str:
    if beta != 1:
        raise CaptureError(f"{w.path}: softplus with beta={beta}")
    return w.emit("softplus", input)


@maps("hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_")
def _hard(w: Writer, input: str) -> str:
    return w.emit(w.operator.rstrip("_"), input)
