"""Products of two activations, the softmax by itself, and maxima."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from intformer.arith import EXP_BITS
from intformer.ir.graph import Node
from intformer.quantize.approx.softmax import exponent_parameters
from intformer.quantize.dyadic import multipliers, offsets, shift_for
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Context
from intformer.quantize.lowering.linear import channels_last, window_attributes
from intformer.quantize.lowering.operands import branches
from intformer.quantize.params import Affine

Request = Callable[[Context, str, Form], str]

GAIN_BITS = 38
"""Bits of the softmax's gain: divided by a sum of weights it keeps its precision."""


def lower_mul(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """The exact product of two wide values, requantized."""
    (left, a), (right, b) = branches(context, request, node, sums=False)
    target = context.affine(node.output, form)
    ratio = a * b / target.scale
    shift = shift_for(ratio)
    parameters = (
        context.constant(f"{name}.multiplier", multipliers(ratio, shift)),
        context.constant(f"{name}.offset", offsets(target.zero_point, shift)),
    )
    return context.emit(
        "multiply",
        (left, right, *parameters),
        node.name,
        name,
        a_zero=0,
        b_zero=0,
        shift=shift,
        dtype=target.dtype,
    )


def lower_matmul(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """An exact product of two narrow matrices, requantized."""
    operands, affines = [], []
    for value in node.inputs:
        if value in context.source.constants:
            affine = _byte_range(context, value)
            levels = affine.quantize(context.vector(value)).astype(np.uint8)
            operands.append(context.constant(f"{value}.u8", levels))
        else:
            affine = context.affine(value, "narrow")
            operands.append(request(context, value, "narrow"))
        affines.append(affine)
    a, b = affines
    product = context.emit(
        "matmul",
        operands,
        node.name,
        f"{name}.product",
        a_zero=a.zero_point,
        b_zero=b.zero_point,
    )
    target = context.affine(node.output, form)
    return context.requantize(product, a.scale * b.scale, 0, target, node.name, name)


def _byte_range(context: Context, value: str) -> Affine:
    """The whole range of a constant in 256 levels."""
    array = context.vector(value)
    low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
    scale = max(high - low, 1e-30) / 255
    return Affine(scale, round(-low / scale), "uint8")


def lower_softmax(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Weights of the wide scores, divided by their sum within the row."""
    source, target = context.affine(node.inputs[0], "wide"), context.affine(node.output, form)
    x = request(context, node.inputs[0], "wide")
    steps = source.scale / math.log(2) * (1 << EXP_BITS)
    limit, multiplier, exp_shift = exponent_parameters(steps, 2**16 - 1)
    ratio = 1 / target.scale
    shift = min(max(GAIN_BITS - math.frexp(ratio)[1], 1), 31)
    return context.emit(
        "softmax",
        (x,),
        node.name,
        name,
        limit=limit,
        multiplier=multiplier,
        exp_shift=exp_shift,
        gain=round(ratio * 2**shift),
        offset=(target.zero_point << shift) + (1 << (shift - 1)),
        shift=shift,
        dtype=target.dtype,
    )


def lower_max(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """The largest wide value along an axis, requantized."""
    source, target = context.affine(node.inputs[0], "wide"), context.affine(node.output, form)
    x = request(context, node.inputs[0], "wide")
    shape = context.shape(x)
    axis = int(node.number("axis")) % len(shape)
    largest = context.emit("max", (x,), node.name, f"{name}.largest", axis=axis, dtype=source.dtype)
    result = context.requantize(largest, source.scale, 0, target, node.name, name)
    if node.attrs["keepdims"]:
        return result
    kept = tuple(-1 if isinstance(d, str) else d for i, d in enumerate(shape) if i != axis)
    return context.emit("reshape", (result,), node.name, f"{name}.flat", shape=kept)


def lower_max_pool(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """The largest byte of each window; the border is the lowest level, which never wins."""
    source, target = context.affine(node.inputs[0], "narrow"), context.affine(node.output, form)
    x = channels_last(context, request, node.inputs[0], "narrow")
    context.channels_last.add(node.output)
    channels, kernel = context.shape(x)[-1], node.numbers("kernel")
    assert isinstance(channels, int)
    pad = context.constant(f"{name}.pad", np.zeros(channels, np.uint8))
    attrs = window_attributes(context, x, node, kernel)
    windows = context.emit("patches", (x, pad), node.name, f"{name}.windows", **attrs)
    _, height, width, _ = context.shape(windows)
    assert isinstance(height, int) and isinstance(width, int)
    apart = (-1, height * width, math.prod(kernel), channels)
    stacked = context.emit("reshape", (windows,), node.name, f"{name}.stacked", shape=apart)
    largest = context.emit("max", (stacked,), node.name, f"{name}.largest", axis=2, dtype="uint8")
    flat = context.emit(
        "reshape", (largest,), node.name, f"{name}.map", shape=(-1, height, width, channels)
    )
    return context.requantize(flat, source.scale, source.zero_point, target, node.name, name)
