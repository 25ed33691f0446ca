"""Attention: the integer parameters of the softmax and of the division after P·V."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from intformer.arith import BIAS_LIMIT, EXP_BITS, EXP_STEPS
from intformer.ir.graph import Node
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Context

Request = Callable[[Context, str, Form], str]

GAIN_BITS = 31


def lower_attention(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """softmax(scale·q·kᵀ + bias)·v with uint8 q, k, v; the output scale is in the reciprocal."""
    q, k, v = (context.affine(value, "narrow") for value in node.inputs[:3])
    target = context.affine(node.output, form)
    operands = [request(context, value, "narrow") for value in node.inputs[:3]]
    steps = q.scale * k.scale * node.number("scale") / math.log(2) * (1 << EXP_BITS)
    width = context.shape(operands[0])[-1]
    heads = node.attrs["heads"]
    assert isinstance(width, int) and isinstance(heads, int)
    reach = 255 * 255 * (width // heads)
    biased, masked = node.op == "biased_attention", node.op == "attention" and len(node.inputs) > 3
    extra = node.inputs[3:]
    largest = 2 * reach
    if masked:
        # A masked key stands at -2^30 and must be driven to weight 0 whatever the others are.
        largest = 2**30 - reach
    if biased:
        bias = _integer_bias(context, node, q.scale * k.scale * node.number("scale"))
        extra = (context.constant(f"{name}.bias", bias),)
        largest += int(bias.max()) - int(bias.min())
    limit, multiplier, exp_shift = exponent_parameters(steps, min(largest, 2**30), must_end=masked)
    ratio = v.scale / target.scale
    shift = min(GAIN_BITS - max(math.frexp(ratio)[1], 0), GAIN_BITS)
    return context.emit(
        node.op,
        (*operands, *extra),
        node.name,
        name,
        heads=heads,
        q_zero=q.zero_point,
        k_zero=k.zero_point,
        v_zero=v.zero_point,
        limit=limit,
        multiplier=multiplier,
        exp_shift=exp_shift,
        gain=round(ratio * 2**shift),
        offset=(target.zero_point << shift) + (1 << (shift - 1)),
        shift=shift,
        dtype=target.dtype,
    )


def _integer_bias(context: Context, node: Node, step: float) -> NDArray[np.int32]:
    """What is added to the integer scores, whose unit is ``step``."""
    levels = np.floor(context.vector(node.inputs[3]) / step + 0.5)
    return np.clip(levels, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)


def exponent_parameters(
    steps: float, largest: int, *, must_end: bool = False
) -> tuple[int, int, int]:
    """(limit, multiplier, shift) so that distance·multiplier / 2^shift counts 1/256 octaves.

    ``steps`` is the exact number of 1/256 octaves per unit of score, ``largest`` the largest
    distance two scores can have. ``limit`` is where weights vanish; the shift is the largest
    that keeps limit·multiplier + 2^(shift-1) inside int32. ``must_end`` asks that the weight is 0
    at ``largest``, as a masked key's must be.
    """
    for shift in range(30, 0, -1):
        multiplier, end = _rounded(steps, shift)
        limit = min(max(math.ceil((EXP_STEPS + 1) / steps), end), largest)
        fits = limit * multiplier + 2 ** (shift - 1) < 2**31
        if fits and (end <= largest or not must_end):
            break
    return limit, multiplier, shift


def _rounded(steps: float, shift: int) -> tuple[int, int]:
    """The multiplier, and the distance at which the exponent it gives reaches its end."""
    multiplier = max(round(steps * 2**shift), 1)
    return multiplier, -(-((EXP_STEPS << shift) - 2 ** (shift - 1)) // multiplier)
