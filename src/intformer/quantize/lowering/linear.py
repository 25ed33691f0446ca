"""Linear layers and convolutions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intformer.errors import CaptureError
from intformer.ir.graph import Node
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Accumulator, Context
from intformer.quantize.params import FloatArray, IntegerWeight

Request = Callable[[Context, str, Form], str]


def lower_linear(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Accumulate, then requantize to the form asked for."""
    sums = accumulate(context, request, node)
    target = context.affine(node.output, form)
    return context.requantize(sums.value, sums.scale, 0, target, node.name, name)


def lower_conv2d(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """As a linear layer over patches; the result is channels-last."""
    context.channels_last.add(node.output)
    return lower_linear(context, request, node, form, name)


def accumulate(context: Context, request: Request, node: Node) -> Accumulator:
    """The int32 sums of a linear or conv2d, emitted once."""
    if node.output not in context.accumulators:
        emit = _accumulate_conv2d if node.op == "conv2d" else _accumulate_linear
        context.accumulators[node.output] = emit(context, request, node)
    return context.accumulators[node.output]


def _accumulate_linear(context: Context, request: Request, node: Node) -> Accumulator:
    value, weight = node.inputs[0], context.decisions.weights[node.output]
    wide = node.output in context.wide_linears()
    affine = context.affine(value, "wide" if wide else "narrow")
    x = request(context, value, "wide" if wide else "narrow")
    op = "linear16" if wide else "linear"
    return _emit(context, node, op, x, weight, affine.scale, float(affine.zero_point))


def _accumulate_conv2d(context: Context, request: Request, node: Node) -> Accumulator:
    value, weight = node.inputs[0], context.decisions.weights[node.output]
    if value in context.source.inputs:
        assert context.pixels is not None
        x, scale, zero = value, 1.0, context.pixels.zero
    else:
        affine = context.affine(value, "narrow")
        x, scale = request(context, value, "narrow"), affine.scale
        zero = np.full(weight_shape(context, node)[1], float(affine.zero_point))
    if value not in context.channels_last:
        raise CaptureError(f"convolution '{node.name}' must follow the image or a convolution")
    kernel = weight_shape(context, node)[2:]
    size = context.shape(x)[1:3]
    pad = context.constant(f"{node.output}.pad", np.floor(zero + 0.5).astype(np.uint8))
    windows = context.emit(
        "patches",
        (x, pad),
        node.name,
        f"{node.output}.patches",
        size=tuple(int(s) for s in size),
        kernel=kernel,
        stride=node.numbers("stride"),
        padding=node.numbers("padding"),
    )
    tiled = np.tile(zero, kernel[0] * kernel[1])
    return _emit(context, node, "linear", windows, weight, scale, tiled)


def weight_shape(context: Context, node: Node) -> tuple[int, ...]:
    """(O, C, kh, kw) of a convolution."""
    return tuple(context.source.constants[node.inputs[1]].shape)


def _emit(
    context: Context,
    node: Node,
    op: str,
    x: str,
    weight: IntegerWeight,
    input_scale: float,
    zero: float | FloatArray,
) -> Accumulator:
    """bias + Σ (x - zero)·w, with the zero point folded into the integer bias."""
    scale = weight.scale * input_scale
    shifted = np.broadcast_to(zero, len(weight.values)) @ weight.values.astype(np.float64)
    bias = np.floor(weight.bias / scale - shifted + 0.5)
    if np.abs(bias).max() >= 2**31:
        raise CaptureError(f"layer '{node.name}': its bias does not fit 32 bits")
    name = node.inputs[1]
    integers = _weight(context, node, weight)
    inputs = (x, integers, context.constant(f"{name}.bias", bias.astype(np.int32)))
    return Accumulator(context.emit(op, inputs, node.name, f"{node.output}.sum"), scale)


def _weight(context: Context, node: Node, weight: IntegerWeight) -> str:
    """The int8 weight as a constant, or expanded from 4 bits."""
    name = node.inputs[1]
    if weight.multiplier is None:
        return context.constant(name, weight.values)
    packed = context.constant(f"{name}.packed", weight.packed)
    multiplier = context.constant(f"{name}.multiplier", weight.multiplier)
    rows = len(weight.values)
    return context.emit("unpack4", (packed, multiplier), node.name, name, rows=rows)
