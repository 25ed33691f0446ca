"""Normalisation by Newton's iteration, and of inputs with power-of-two factors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from intformer.arith import NEWTON_BITS, NORM_BITS
from intformer.quantize.params import Affine, Choice, FloatArray

LARGEST_POWER = 3
"""FQ-ViT's K: factors of 1, 2, 4 and 8."""

MIDDLE = 128
"""Zero point of the 8-bit input; FQ-ViT's is asymmetric."""

FIXED_START = 16
"""Exponent of the start that the published I-LayerNorm takes for every row."""


@dataclass(frozen=True)
class Form:
    """An integer normalisation: what 1 is in it, and what ε is multiplied by beside 1/scale²."""

    op: str
    unit: float
    eps: float
    attrs: dict[str, int]


def form(choice: Choice | None, op: str, channels: int) -> Form:
    """The integer operator for the float operator ``op``.

    The published I-LayerNorm leaves eps out.
    """
    if choice is None or choice.operator == "power-of-two":
        return Form(op, 2.0**-NORM_BITS, float(channels**2), {})
    published = choice.operator == "newton-published"
    unit = math.sqrt(channels) / 2**NEWTON_BITS
    attrs = {"start": FIXED_START if published else 0}
    return Form("newton_norm", unit, 0.0 if published else float(channels), attrs)


def powers_of_two(largest: FloatArray) -> tuple[float, ...]:
    """(scale, exponent per channel) for channels of these magnitudes (arXiv 2111.13824, 3.2).

    A channel has the steps scale·2^exponent, the smallest of four that hold its largest value.
    """
    top = max(float(largest.max()), 1e-9)
    scale = top / (MIDDLE - 1) / 2**LARGEST_POWER
    wanted = np.log2(np.maximum(largest, 1e-30) / (MIDDLE - 1) / scale)
    return scale, *np.clip(np.ceil(wanted - 1e-9), 0, LARGEST_POWER).tolist()


def factored(choice: Choice) -> tuple[FloatArray, Affine, FloatArray]:
    """(factor per channel, meaning of the factored int16 value, step per channel)."""
    scale, *exponents = choice.parameters
    factors = 2.0 ** np.array(exponents)
    return factors, Affine(scale, 0, "int16"), scale * factors
