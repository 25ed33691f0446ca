"""One rule per float operator: which integer operators replace it, with which parameters.

A rule gets the context, ``request`` (to ask for an input in some form), the node, the form wanted
and a name for the result; it returns the name of the integer value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from intformer.errors import CaptureError
from intformer.ir.float_ops import UNARY
from intformer.ir.graph import Node
from intformer.quantize.approx import norm
from intformer.quantize.dyadic import LARGEST_SHIFT, multipliers, offsets, shift_for
from intformer.quantize.groups import Form
from intformer.quantize.lowering.attention import lower_attention
from intformer.quantize.lowering.context import Context
from intformer.quantize.lowering.linear import lower_linear
from intformer.quantize.lowering.operands import branches
from intformer.quantize.lowering.products import (
    lower_matmul,
    lower_max,
    lower_max_pool,
    lower_mul,
    lower_softmax,
)
from intformer.quantize.lowering.sequence import (
    lower_polynomial,
    lower_rotary,
    lower_tied_embedding,
    tied_projection,
)
from intformer.quantize.lowering.shape import (
    lower_concat,
    lower_expand,
    lower_reshape,
    lower_slice,
    lower_transpose,
)
from intformer.quantize.lowering.stored import position_table
from intformer.quantize.lowering.unary import lower_relu, lower_unary
from intformer.quantize.params import Affine, Choice

Request = Callable[[Context, str, Form], str]
Rule = Callable[[Context, Request, Node, Form, str], str]


STEEPEST = 2.0**11
"""Integers per step of a normalised value: keeps NORM_LIMIT times it in 32 bits. A steeper gain
would saturate within a hundredth of a standard deviation."""


def lower_norm(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """All norms: gamma, beta and the output scale in one multiplier per channel.

    A value needed in both forms is normalised once, in the wide form, and requantized.
    """
    if form == "narrow" and context.both_forms(node.output):
        return _from_wide(context, request, node, name)
    x = request(context, node.inputs[0], "wide")
    source, target = context.affine(node.inputs[0], "wide"), context.affine(node.output, form)
    choice = context.decisions.operator(node.output)
    if choice is not None and choice.operator == "power-of-two":
        x, source = _by_powers_of_two(context, choice, node, x, name)
    gamma = context.vector(node.inputs[1])
    beta = context.vector(node.inputs[2]) if len(node.inputs) > 2 else np.zeros_like(gamma)
    channels = len(gamma)
    kind = norm.form(choice, node.op, channels)
    # The deviation that eps joins is C²·variance, or C²·mean|x - mean| of the L1 norm.
    power, most = (1, 2**30) if node.op == "l1_norm" else (2, 2**60)
    eps = node.number("eps") * kind.eps / source.scale**power
    ratio = np.clip(gamma / target.scale * kind.unit, -STEEPEST, STEEPEST)
    shift = shift_for(ratio)
    return context.emit(
        f"{kind.op}20" if source.dtype == "int20" else kind.op,
        (
            x,
            context.constant(f"{name}.gain", multipliers(ratio, shift)),
            context.constant(
                f"{name}.offset", offsets(target.zero_point, shift, beta / target.scale)
            ),
        ),
        node.name,
        name,
        channels=channels,
        eps=int(min(max(round(eps), 1), most)),
        shift=shift,
        dtype=target.dtype,
        **kind.attrs,
    )


def _by_powers_of_two(
    context: Context, choice: Choice, node: Node, wide: str, name: str
) -> tuple[str, Affine]:
    """The stream in 8 bits with a power of two per channel, as int16 in the smallest step."""
    factors, meaning, steps = norm.factored(choice)
    ratio = context.affine(node.inputs[0], "wide").scale / steps
    shift = shift_for(ratio)
    down = (
        context.constant(f"{name}.down", multipliers(ratio, shift)),
        context.constant(f"{name}.down.offset", offsets(norm.MIDDLE, shift)),
    )
    narrow = context.emit(
        "requantize", (wide, *down), node.name, f"{name}.narrow", shift=shift, dtype="uint8"
    )
    up = (
        context.constant(f"{name}.up", multipliers(2 * factors, 0)),
        context.constant(f"{name}.up.offset", (-2 * norm.MIDDLE * factors).astype(np.int64)),
    )
    raised = context.emit(
        "requantize", (narrow, *up), node.name, f"{name}.raised", shift=1, dtype="int16"
    )
    return raised, meaning


def _from_wide(context: Context, request: Request, node: Node, name: str) -> str:
    """The narrow form of a value that exists in the wide form too."""
    wide = request(context, node.output, "wide")
    source = context.affine(node.output, "wide")
    target = context.affine(node.output, "narrow")
    return context.requantize(wide, source.scale, source.zero_point, target, node.name, name)


def lower_add(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Residual and position adds: both branches in one rounding.

    A branch that is a linear layer used nowhere else enters as raw accumulators.
    """
    if form == "narrow" and context.both_forms(node.output):
        return _from_wide(context, request, node, name)
    target = context.affine(node.output, form)
    (left, left_scale), (right, right_scale) = branches(context, request, node, sums=True)
    ratios = left_scale / target.scale, right_scale / target.scale
    shift = shift_for(*ratios)
    return context.emit(
        "add",
        (
            left,
            right,
            context.constant(f"{name}.multiplier_a", multipliers(ratios[0], shift)),
            context.constant(f"{name}.multiplier_b", multipliers(ratios[1], shift)),
            context.constant(f"{name}.offset", offsets(target.zero_point, shift)),
        ),
        node.name,
        name,
        shift=shift,
        dtype=target.dtype,
    )


def lower_scale(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Multiplication by a number: a requantize, or part of the embedding in front of it."""
    producer, target = context.producers.get(node.inputs[0]), context.affine(node.output, form)
    if producer is not None and producer.op == "embedding" and context.only_use(node.inputs[0]):
        factor = node.number("factor")
        if factor > 0 and target.zero_point == 0 and not context.both_forms(node.output):
            return _embed(context, producer, replace(target, scale=target.scale / factor), name)
    source = context.affine(node.inputs[0], "wide")
    factor = node.number("factor") * source.scale
    x = request(context, node.inputs[0], "wide")
    return context.requantize(x, factor, 0, target, node.name, name)


def lower_rescale(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """A gain and bias per channel: one requantize of the wide form."""
    source, target = context.affine(node.inputs[0], "wide"), context.affine(node.output, form)
    x = request(context, node.inputs[0], "wide")
    ratio = context.vector(node.inputs[1]) * source.scale / target.scale
    shift = shift_for(ratio)
    bias = context.vector(node.inputs[2]) / target.scale
    parameters = (
        context.constant(f"{name}.multiplier", multipliers(ratio, shift)),
        context.constant(f"{name}.offset", offsets(target.zero_point, shift, bias)),
    )
    return context.emit(
        "requantize", (x, *parameters), node.name, name, shift=shift, dtype=target.dtype
    )


def lower_mean(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Mean over a fixed axis: an integer sum, and the division inside the requantize."""
    source = context.affine(node.inputs[0], "wide")
    x = request(context, node.inputs[0], "wide")
    axis = node.attrs["axis"]
    axis = axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis
    if not isinstance(axis, int):
        raise CaptureError(
            f"mean of '{node.name}' over axes {axis}: one axis at a time is supported"
        )
    shape = context.shape(x)
    axis %= len(shape)
    count = shape[axis]
    if not isinstance(count, int):
        raise CaptureError(f"mean of '{node.name}' over symbolic dimension {count}")
    total = context.emit("sum", (x,), node.name, f"{name}.sum", axis=axis)
    target = context.affine(node.output, form)
    mean = context.requantize(total, source.scale / count, 0, target, node.name, name)
    if node.attrs.get("keepdims"):
        return mean
    kept = tuple(-1 if isinstance(d, str) else d for i, d in enumerate(shape) if i != axis)
    return context.emit("reshape", (mean,), node.name, f"{name}.flat", shape=kept)


def lower_embedding(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """int8 rows with one multiplier each, rescaled to the stream's integers."""
    if form == "narrow" and context.both_forms(node.output):
        return _from_wide(context, request, node, name)
    target = context.affine(node.output, form)
    if target.zero_point:
        raise CaptureError(f"embedding '{node.name}' needs a wide form")
    return _embed(context, node, target, name)


def _embed(context: Context, node: Node, target: Affine, name: str) -> str:
    """The rows of an embedding in a wide target's integers."""
    layer = tied_projection(context, node)
    if layer is not None:
        return lower_tied_embedding(context, node, layer, target, name)
    rows = context.vector(node.inputs[0])
    scale = np.maximum(np.abs(rows).max(axis=1), 1e-12) / 127
    ratio = scale / target.scale
    shift = min(shift_for(ratio), LARGEST_SHIFT)
    values = np.floor(rows / scale[:, None] + 0.5).clip(-127, 127).astype(np.int8)
    multiplier = multipliers(ratio, shift)
    full = np.ascontiguousarray(np.broadcast_to(multiplier, len(rows)))
    return context.emit(
        "embedding",
        (
            node.inputs[1],
            context.constant(node.inputs[0], values),
            context.constant(f"{node.inputs[0]}.multiplier", full),
        ),
        node.name,
        name,
        shift=shift,
        dtype=target.dtype,
    )


def lower_positions(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """The leading rows of a position table, stored in the stream's integers."""
    target = context.affine(node.output, form)
    real = context.vector(node.inputs[1])
    integers = target.quantize(real).astype(target.storage)
    table = position_table(context, integers, real, node.name, f"{node.inputs[1]}.{form}")
    return context.emit("positions", (node.inputs[0], table), node.name, name)


RULES: dict[str, Rule] = {
    "linear": lower_linear,
    "conv2d": lower_linear,
    "depthwise": lower_linear,
    "mul": lower_mul,
    "matmul": lower_matmul,
    "softmax": lower_softmax,
    "max": lower_max,
    "max_pool": lower_max_pool,
    "layer_norm": lower_norm,
    "rms_norm": lower_norm,
    "l1_norm": lower_norm,
    "attention": lower_attention,
    "biased_attention": lower_attention,
    "polynomial_attention": lower_polynomial,
    "rotary": lower_rotary,
    **dict.fromkeys(UNARY, lower_unary),
    "relu": lower_relu,
    "add": lower_add,
    "scale": lower_scale,
    "rescale": lower_rescale,
    "mean": lower_mean,
    "reshape": lower_reshape,
    "transpose": lower_transpose,
    "slice": lower_slice,
    "concat": lower_concat,
    "expand": lower_expand,
    "embedding": lower_embedding,
    "positions": lower_positions,
}
