"""Element-wise functions: exactly rounded tables of the 256 values an 8-bit input can have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from intformer.ir.float_ops import WEIGHTED
from intformer.ir.graph import Node
from intformer.quantize.approx import gelu
from intformer.quantize.dyadic import multipliers, offsets, shift_for
from intformer.quantize.float_run import evaluate
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Context
from intformer.quantize.lowering.linear import accumulate
from intformer.quantize.params import Affine, Choice, FloatArray

LINEAR_ABOVE = {"gelu": 4.0, "silu": 12.0}
"""Where a function equals its input for all purposes: GELU(4) = 3.9999, SiLU(12) = 11.9999."""

Request = Callable[[Context, str, Form], str]


def lower_unary(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """A table lookup from the 8-bit form of the input straight to the form asked for."""
    if node.output in context.decisions.splits:
        return _lower_split(context, request, node, form, name)
    x = request(context, node.inputs[0], "narrow")
    source, target = context.affine(node.inputs[0], "narrow"), context.affine(node.output, form)
    choice = context.decisions.operator(node.output)
    if choice is not None and choice.operator == "shiftgelu-published":
        attrs = gelu.row_attributes(source, target)
        return context.emit("shift_gelu", (x,), node.name, name, **attrs)
    entries = table_entries(node, source, target, choice)
    return context.emit("table", (x, context.constant(f"{name}.table", entries)), node.name, name)


def _lower_split(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """f(x) for inputs far beyond the bend of f, where f(x) = x: f(min(x, bend)) + max(x - bend, 0).

    The table has all its 256 steps below the bend; the excess is a second requantize of the same
    accumulators, clipped at 0.
    """
    source, target = context.affine(node.inputs[0], "narrow"), context.affine(node.output, form)
    low = request(context, node.inputs[0], "narrow")
    choice = context.decisions.operator(node.output)
    constant = context.constant(f"{name}.table", table_entries(node, source, target, choice))
    below = context.emit("table", (low, constant), node.name, f"{name}.below")
    bend = float(source.dequantize(np.array(source.limits[1])))
    sums = accumulate(context, request, context.producers[node.inputs[0]])
    reach = max(context.decisions.splits[node.output] - bend, 1e-6)
    excess = Affine(reach / 255, 0, "uint8")
    above = context.requantize(
        sums.value, sums.scale, 0, excess, node.name, f"{name}.above", addend=-bend
    )
    ratio = excess.scale / target.scale
    shift = shift_for(1.0, ratio)
    parameters = (
        context.constant(f"{name}.multiplier_a", multipliers(1.0, shift)),
        context.constant(f"{name}.multiplier_b", multipliers(ratio, shift)),
        context.constant(f"{name}.offset", offsets(0, shift)),
    )
    return context.emit(
        "add", (below, above, *parameters), node.name, name, shift=shift, dtype=target.dtype
    )


def table_entries(
    node: Node, source: Affine, target: Affine, choice: Choice | None = None
) -> NDArray[Any]:
    """The 256 results of the function, or of an approximation, in the target's integers."""
    if choice is not None:
        return gelu.entries(choice.operator, source, target)
    real = apply(node, source.dequantize(np.arange(256)))
    return target.quantize(real).astype(target.storage)


def lower_relu(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """After a linear layer or convolution a ReLU is the lower clip of its requantize."""
    producer = context.producers.get(node.inputs[0])
    target = context.affine(node.output, form)
    fusable = producer is not None and producer.op in WEIGHTED
    if form == "narrow" and target.zero_point == 0 and fusable and context.only_use(node.inputs[0]):
        assert producer is not None
        sums = accumulate(context, request, producer)
        if producer.op != "linear":
            context.channels_last.add(node.output)
        return context.requantize(sums.value, sums.scale, 0, target, node.name, name)
    if node.inputs[0] in context.channels_last:
        context.channels_last.add(node.output)
    return lower_unary(context, request, node, form, name)


def apply(node: Node, x: FloatArray) -> FloatArray:
    """The function itself, in float64."""
    if node.op == "gelu":
        if node.attrs.get("approximate", "none") == "tanh":
            inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
            return np.asarray(0.5 * x * (1 + np.tanh(inner)))
        half = torch.erf(torch.from_numpy(x / math.sqrt(2))).numpy()
        return np.asarray(0.5 * x * (1 + half))
    if node.op in ("sigmoid", "silu"):
        sigmoid = 0.5 * (1 + np.tanh(0.5 * x))
        return np.asarray(sigmoid if node.op == "sigmoid" else x * sigmoid)
    return np.asarray(evaluate(node, [torch.from_numpy(x)]).numpy())
