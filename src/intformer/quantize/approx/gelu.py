"""GELU by shifts and by a polynomial: tables of what the integer functions compute.

The input has 8 bits, so the 256 results of an approximation are a table, exactly as those of GELU
are. Only the published ShiftGELU, whose result depends on its row, is an operator of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from intformer import arith
from intformer.ir.graph import Array
from intformer.quantize.dyadic import multipliers, offsets, shift_for
from intformer.quantize.params import Affine, FloatArray
from intformer.reference.primitives import NumpyPrimitives

UNIT = 1024
"""At least half as many integer steps in 1, for the sigmoid by shifts."""

BEND = 4096
"""At least half as many integer steps up to 1.769, where the polynomial of erf ends."""

SIGMOID_OCTAVES = 23
"""Fraction bits of an exponential in the published ShiftGELU (n in its code)."""

SIGMOID_SLOPE = 1.702
"""GELU(x) ≈ x·σ(1.702·x)."""


def entries(operator: str, source: Affine, target: Affine) -> Array:
    """The 256 results of ``shiftgelu`` or ``i-gelu`` in the integers of ``target``."""
    x = (np.arange(256) - source.zero_point).astype(np.int32)
    share, bits = shift_share(x, source.scale) if operator == "shiftgelu" else erf_share(x, source)
    return _rescaled(x * share, source.scale / bits, target)


def shift_share(x: Array, scale: float) -> tuple[Array, float]:
    """σ(1.6875·x·scale) by shifts, and what 1 is in it; 1.6875 = 1 + 1/2 + 1/8 + 1/16."""
    fine = max(math.floor(math.log2(UNIT * scale)), 0)
    raised = x << fine
    power = raised + (raised >> 1) + (raised >> 3) + (raised >> 4)
    unit = round(2.0**fine / scale)
    return np.asarray(arith.shift_sigmoid(NumpyPrimitives(), power, unit)), 2.0**arith.SHIFT_BITS


def erf_share(x: Array, source: Affine) -> tuple[Array, float]:
    """(1 + erf(x·scale/√2)) / 2 by a polynomial, and what 1 is in it (15 to 16 bits)."""
    fine = max(math.floor(math.log2(BEND * source.scale / 1.769 / math.sqrt(2))), 0)
    step = source.scale / 2**fine / math.sqrt(2)
    bend, constant = round(1.769 / step), round(1 / (0.2888 * step**2))
    erf = arith.quadratic_erf(NumpyPrimitives(), x << fine, bend=bend, constant=constant)
    drop = max(constant.bit_length() - 15, 0)
    return np.asarray((constant + erf) >> drop), 2 * constant / 2.0**drop


def _rescaled(x: Array, scale: float, target: Affine) -> Array:
    shift = shift_for(scale / target.scale)
    multiplier = multipliers(scale / target.scale, shift)
    offset = offsets(target.zero_point, shift)
    xp = NumpyPrimitives()
    return np.asarray(
        arith.requantize(
            xp, x.astype(np.int32), multiplier, offset, shift=shift, dtype=target.dtype
        )
    )


def exact(x: FloatArray) -> FloatArray:
    """GELU in float64."""
    return np.asarray(0.5 * x * (1 + torch.erf(torch.from_numpy(x / math.sqrt(2))).numpy()))


def approximated(operator: str, source: Affine, target: Affine) -> FloatArray:
    """The real results of ``operator`` for the 256 inputs.

    The published ShiftGELU depends on its row; it is taken beside the largest input of all.
    """
    if operator == "shiftgelu-published":
        row = np.arange(256, dtype=np.uint8)[None]
        attrs: dict[str, Any] = row_attributes(source, target)
        return target.dequantize(arith.shift_gelu(NumpyPrimitives(), row, **attrs)[0])
    return target.dequantize(entries(operator, source, target))


def row_attributes(source: Affine, target: Affine) -> dict[str, int | str]:
    """Attributes of ``shift_gelu``: the published rounding of the unit, up from 1/(1.702·scale)."""
    unit = min(math.ceil(1 / (SIGMOID_SLOPE * source.scale)), 1024)
    octaves = min(SIGMOID_OCTAVES, 29 - unit.bit_length())
    ratio = source.scale / 2**arith.ROW_SIGMOID_BITS / target.scale
    shift = 24 - math.frexp(ratio)[1]
    return {
        "zero": source.zero_point,
        "unit": unit,
        "octaves": octaves,
        "multiplier": max(round(ratio * 2.0**shift), 1),
        "offset": (target.zero_point << shift) + (1 << (shift - 1)),
        "shift": shift,
        "dtype": target.dtype,
    }
