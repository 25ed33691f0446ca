"""Attention: the integer parameters of the softmax and of the division after P·V."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.arith import BIAS_LIMIT, EXP_BITS, EXP_STEPS
from intformer.errors import CaptureError
from intformer.ir.graph import Node
from intformer.quantize.approx import softmax
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Context
from intformer.quantize.lowering.stored import pair_bias

Request = Callable[[Context, str, Form], str]

GAIN_BITS = 31

LEAST_APART = 2**16
"""Every grid can end within this distance, if at a lower temperature."""


def lower_attention(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """softmax(scale·q·kᵀ + bias)·v with uint8 q, k, v; the output scale is in the reciprocal."""
    q, k = (context.affine(value, "narrow") for value in node.inputs[:2])
    operands = [request(context, value, "narrow") for value in node.inputs[:3]]
    unit = q.scale * k.scale * node.number("scale")
    width = context.shape(operands[0])[-1]
    heads, causal = node.attrs["heads"], bool(node.attrs.get("causal"))
    assert isinstance(width, int) and isinstance(heads, int)
    masked = node.op == "attention" and len(node.inputs) > 3
    kv_heads = node.attrs.get("kv_heads", heads)
    if (masked and causal) or (kv_heads != heads and not causal):
        raise CaptureError(
            f"attention '{node.name}': a key mask beside causality, or fewer heads of keys without "
            "it, is not supported; capture the model without the mask of its decoder"
        )
    reach = 255 * 255 * (width // heads)
    extra, hides = node.inputs[3:], masked or causal
    # A hidden key stands at -2^30 and must be driven to weight 0 whatever the other scores are.
    largest = 2**30 - reach if hides else 2 * reach
    if node.op == "biased_attention":
        bias = _integer_bias(context, node, unit)
        extra = (pair_bias(context, bias, node.name, f"{name}.bias"),)
        largest, hides = _distance(bias, reach)
    choice = None if causal else context.decisions.operator(node.output)
    if choice is not None:
        keys = context.largest(context.shape(operands[1])[-2])
        grid = softmax.grid(choice, unit, keys)
        op = grid.op if node.op == "attention" else f"biased_{grid.op}"
        attrs = softmax.attributes(grid, largest, must_end=hides)
        attrs |= {"heads": heads, **_rescaling(context, node, form, grid)}
        return context.emit(op, (*operands, *extra), node.name, name, **attrs)
    steps = unit / math.log(2) * (1 << EXP_BITS)
    limit, multiplier, exp_shift = softmax.exponent_parameters(
        steps, largest, EXP_STEPS, must_end=hides
    )
    return context.emit(
        "causal_attention" if causal else node.op,
        (*operands, *extra),
        node.name,
        name,
        heads=heads,
        **({"kv_heads": kv_heads} if causal else {}),
        limit=limit,
        multiplier=multiplier,
        exp_shift=exp_shift,
        **mixing(context, node, form),
    )


def _distance(bias: NDArray[np.int32], reach: int) -> tuple[int, bool]:
    """How far two scores can be from each other, at most 2^30, and False.

    Where pairs are kept apart: how far such a pair is at least from the largest of its row, and
    True, since its weight must be 0 there. Two q·k differ by ``reach`` at most, whatever the zero
    points are.
    """
    lowest, highest = bias.min(-1), bias.max(-1)
    rows = (lowest <= -BIAS_LIMIT) & (highest > -BIAS_LIMIT)
    if rows.any():
        apart = BIAS_LIMIT + int(highest[rows].min()) - reach
        if apart >= LEAST_APART:
            return apart, True
    return min(2 * reach + int(bias.max()) - int(bias.min()), 2**30), False


def _rescaling(context: Context, node: Node, form: Form, grid: softmax.Grid) -> dict[str, Any]:
    """Attributes of the sum of values behind probabilities of ``grid``."""
    q, k, v = (context.affine(value, "narrow") for value in node.inputs[:3])
    target = context.affine(node.output, form)
    zeros = {"q_zero": q.zero_point, "k_zero": k.zero_point, "v_zero": v.zero_point}
    scales = softmax.output_scale(grid, v.scale / target.scale, target.zero_point)
    return {"dtype": target.dtype, **zeros, **scales}


def _integer_bias(context: Context, node: Node, step: float) -> NDArray[np.int32]:
    """What is added to the integer scores, whose unit is ``step``."""
    levels = np.floor(context.vector(node.inputs[3]) / step + 0.5)
    return np.clip(levels, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)


def mixing(context: Context, node: Node, form: Form) -> dict[str, Any]:
    """Attributes of the sum of values and of the division behind it, for any kind of weights."""
    q, k, v = (context.affine(value, "narrow") for value in node.inputs[:3])
    target = context.affine(node.output, form)
    ratio = v.scale / target.scale
    shift = min(GAIN_BITS - max(math.frexp(ratio)[1], 0), GAIN_BITS)
    return {
        "q_zero": q.zero_point,
        "k_zero": k.zero_point,
        "v_zero": v.zero_point,
        "gain": round(ratio * 2**shift),
        "offset": (target.zero_point << shift) + (1 << (shift - 1)),
        "shift": shift,
        "dtype": target.dtype,
    }
