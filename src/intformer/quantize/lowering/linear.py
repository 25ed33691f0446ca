"""Linear layers and convolutions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intformer.errors import CaptureError
from intformer.ir.constraints import MAX_ZERO_DEPTH
from intformer.ir.graph import Attribute, Node
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Accumulator, Context
from intformer.quantize.narrow import narrow
from intformer.quantize.params import FloatArray, IntegerWeight

Request = Callable[[Context, str, Form], str]


def lower_linear(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Accumulate, then requantize to the form asked for."""
    sums = accumulate(context, request, node)
    target = context.affine(node.output, form)
    return context.requantize(sums.value, sums.scale, 0, target, node.name, name)


def accumulate(context: Context, request: Request, node: Node) -> Accumulator:
    """The int32 sums of a layer with weights, emitted once."""
    if node.output not in context.accumulators:
        if node.op != "linear":
            context.channels_last.add(node.output)
        emit = _accumulate_linear if node.op == "linear" else _accumulate_windows
        context.accumulators[node.output] = emit(context, request, node)
    return context.accumulators[node.output]


def _accumulate_linear(context: Context, request: Request, node: Node) -> Accumulator:
    value, weight = node.inputs[0], context.decisions.weights[node.output]
    wide = node.output in context.wide_linears()
    affine = context.affine(value, "wide" if wide else "narrow")
    x = request(context, value, "wide" if wide else "narrow")
    op = "linear16" if wide else "linear"
    return _emit(context, node, op, x, weight, affine.scale, float(affine.zero_point))


def _accumulate_windows(context: Context, request: Request, node: Node) -> Accumulator:
    """A convolution: of all channels as a linear layer over patches, or of each by itself."""
    value, weight = node.inputs[0], context.decisions.weights[node.output]
    channels = context.source.types[value].shape[1]
    assert isinstance(channels, int)
    if value in context.source.inputs and node.op == "conv2d":
        assert context.pixels is not None
        x, scale, zero = value, 1.0, context.pixels.zero
    else:
        affine = context.affine(value, "narrow")
        x, scale = channels_last(context, request, value, "narrow"), affine.scale
        zero = np.full(channels, float(affine.zero_point))
    kernel = weight_shape(context, node)[-2:]
    if node.op == "conv2d" and _are_pixels(node, kernel):
        return _emit(context, node, "linear", x, weight, scale, zero)
    pad = context.constant(f"{node.output}.pad", np.floor(zero + 0.5).astype(np.uint8))
    attrs = window_attributes(context, x, node, kernel)
    if node.op == "depthwise":
        return _emit(context, node, "depthwise", x, weight, scale, zero, pad, **attrs)
    windows = context.emit("patches", (x, pad), node.name, f"{node.output}.patches", **attrs)
    tiled = np.tile(zero, kernel[0] * kernel[1])
    return _emit(context, node, "linear", windows, weight, scale, tiled)


def _are_pixels(node: Node, kernel: tuple[int, ...]) -> bool:
    """Whether the windows of a convolution are the pixels as they lie."""
    return (kernel, node.numbers("stride"), node.numbers("padding")) == ((1, 1), (1, 1), (0, 0))


def window_attributes(
    context: Context, x: str, node: Node, kernel: tuple[int, ...]
) -> dict[str, Attribute]:
    """Attributes of ``patches`` and ``depthwise`` for the windows of ``node`` on ``x``."""
    size = tuple(int(s) for s in context.shape(x)[1:3])
    stride, padding = node.numbers("stride"), node.numbers("padding")
    return {"size": size, "kernel": kernel, "stride": stride, "padding": padding}


def channels_last(context: Context, request: Request, value: str, form: Form) -> str:
    """The integers of a feature map as [N, H, W, C], whatever made it."""
    x = request(context, value, form)
    if value in context.channels_last:
        return x
    return context.emit("transpose", (x,), value, f"{value}.channels_last", perm=(0, 2, 3, 1))


def weight_shape(context: Context, node: Node) -> tuple[int, ...]:
    """(O, C, kh, kw) of a convolution, (C, kh, kw) of a depthwise one."""
    return tuple(context.source.constants[node.inputs[1]].shape)


def _emit(
    context: Context,
    node: Node,
    op: str,
    x: str,
    weight: IntegerWeight,
    input_scale: float,
    zero: float | FloatArray,
    *extra: str,
    **attrs: Attribute,
) -> Accumulator:
    """bias + Σ (x - zero)·w: what x_zero does not say of the zero points is in the integer bias."""
    scale = weight.scale * input_scale
    values = weight.values.astype(np.float64)
    each = op == "depthwise"  # zero is per output channel there, else per input
    shifted = zero * values.sum(axis=0) if each else np.broadcast_to(zero, len(values)) @ values
    bias = np.floor(weight.bias / scale - shifted + 0.5)
    if op == "linear":
        attrs["x_zero"] = common = _common_zero(zero, len(values))
        bias += common * values.sum(axis=0)
    if np.abs(bias).max() >= 2**31:
        raise CaptureError(f"layer '{node.name}': its bias does not fit 32 bits")
    name = node.inputs[1]
    integers = _weight(context, node, weight)
    kinds = (np.int8, np.int16, np.int32) if op == "linear" else (np.int32,)
    stored = narrow(bias, *kinds)
    inputs = (x, *extra, integers, context.constant(f"{name}.bias", stored))
    return Accumulator(context.emit(op, inputs, node.name, f"{node.output}.sum", **attrs), scale)


def _common_zero(zero: float | FloatArray, depth: int) -> int:
    """The byte nearest to all zero points of a layer's inputs; 0 where x_zero must be."""
    return 0 if depth > MAX_ZERO_DEPTH else int(np.clip(np.round(np.mean(zero)), 0, 255))


def _weight(context: Context, node: Node, weight: IntegerWeight) -> str:
    """The int8 weight as a constant, or expanded from 4 bits."""
    name = node.inputs[1]
    if weight.multiplier is None:
        return context.weight(node)
    packed = context.constant(f"{name}.packed", weight.packed)
    multiplier = context.constant(f"{name}.multiplier", weight.multiplier)
    rows = len(weight.values)
    return context.emit("unpack4", (packed, multiplier), node.name, name, rows=rows)
