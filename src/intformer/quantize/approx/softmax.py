"""Parameters of softmax: the grid of distances, from the scale of a score."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from intformer import arith
from intformer.ir.graph import Array
from intformer.quantize.params import Choice, FloatArray
from intformer.reference.primitives import NumpyPrimitives

SHIFT_UNIT = 24
"""Steps of Shiftmax's grid in 1: distances to 10.6 then take 8 bits, as the paper's scores do."""

LEAST_UNIT = 8
"""With fewer steps the shifts of Shiftmax round too much."""

GAIN_BITS = 24
LARGEST_SUM = 2**31 - 1


@dataclass(frozen=True)
class Grid:
    """The integer operator, its steps per unit of score, and where exponentials end.

    ``bits`` are the fraction bits of a probability; ``attrs`` the operator's own attributes.
    """

    op: str
    steps: float
    end: int
    bits: int
    attrs: dict[str, int] = field(default_factory=dict)


def grid(choice: Choice, score: float, keys: int) -> Grid:
    """The grid of ``choice`` for scores of which one integer step is ``score``.

    Shiftmax's grid has 1/unit as its step: where the paper rounds the inverse of a given step to an
    integer (its code downwards for negative numbers, that is up), the step is chosen such that its
    inverse is one. ``shiftmax-published`` takes the step of calibrated 8-bit scores and their
    rounding instead.
    """
    if choice.operator == "shiftmax":
        unit = min(SHIFT_UNIT, largest_unit(keys))
        return _shift(unit, score * unit)
    if choice.operator == "shiftmax-published":
        (step,) = choice.parameters
        unit = min(math.ceil(1 / step), largest_unit(keys), 1024)
        return _shift(unit, score / step)
    steps = score / math.log(2) * (1 << arith.EXP_BITS)
    if choice.operator == "log2":
        return Grid("log2_attention", steps, arith.QUADRATIC_END, arith.LOG2_LEVELS - 1)
    bits = 8 if choice.operator == "i-exp-published" else 15
    return Grid("quadratic_attention", steps, arith.QUADRATIC_END, bits, {"bits": bits})


def _shift(unit: int, steps: float) -> Grid:
    bits = arith.SHIFT_BITS
    attrs = {"unit": unit, "bits": bits}
    return Grid("shift_attention", steps, arith.SHIFT_REACH * unit, bits, attrs)


def largest_unit(keys: int) -> int:
    """The largest unit for which the exponentials of ``keys`` keys add up within 31 bits."""
    return max(LARGEST_SUM // (keys << arith.SHIFT_OCTAVES), 1)


def attributes(grid: Grid, largest: int, *, must_end: bool) -> dict[str, int | str]:
    """What makes grid steps of scores whose distances are at most ``largest``."""
    found = exponent_parameters(grid.steps, largest, grid.end, must_end=must_end)
    return {**dict(zip(("limit", "multiplier", "exp_shift"), found, strict=True)), **grid.attrs}


def output_scale(grid: Grid, ratio: float, zero_point: int) -> dict[str, int | str]:
    """gain, offset and shift of P·V for values whose step is ``ratio`` of the output's."""
    places = GAIN_BITS - math.frexp(ratio)[1]
    shift = places + grid.bits
    offset = (zero_point << shift) + (1 << (shift - 1))
    return {"gain": round(ratio * 2.0**places), "offset": offset, "shift": shift}


def exponent_parameters(
    steps: float, largest: int, last: int = arith.EXP_STEPS, *, must_end: bool = False
) -> tuple[int, int, int]:
    """(limit, multiplier, shift) so that distance·multiplier / 2^shift counts steps of a grid.

    ``steps`` is the exact number of them per unit of score, ``last`` the one where weights vanish,
    ``largest`` the largest distance two scores can have. ``limit`` is where weights vanish; the
    shift is the largest that keeps limit·multiplier + 2^(shift-1) inside int32. ``must_end`` asks
    that the weight is 0 at ``largest``, as a masked key's must be.
    """
    for shift in range(30, 0, -1):
        multiplier, end = _rounded(steps, shift, last)
        limit = min(max(math.ceil((last + 1) / steps), end), largest)
        fits = limit * multiplier + 2 ** (shift - 1) < 2**31
        if fits and (end <= largest or not must_end):
            break
    return limit, multiplier, shift


def _rounded(steps: float, shift: int, last: int) -> tuple[int, int]:
    """The multiplier, and the distance at which the exponent it gives reaches its end."""
    multiplier = max(round(steps * 2**shift), 1)
    return multiplier, -(-((last << shift) - 2 ** (shift - 1)) // multiplier)


def probabilities(choice: Choice | None, scores: FloatArray, score: float) -> FloatArray:
    """What the integer operator makes of real ``scores`` [..., S] in integer steps of ``score``."""
    xp, reach = NumpyPrimitives(), arith.BIAS_LIMIT
    integers = np.clip(np.round(scores / score), -reach, reach).astype(np.int32)
    largest = max(int(np.ptp(integers)), 1)
    if choice is None:
        steps = score / math.log(2) * (1 << arith.EXP_BITS)
        found = exponent_parameters(steps, largest, arith.EXP_STEPS)
        names = ("limit", "multiplier", "shift")
        weights = arith.softmax_weights(xp, integers, **dict(zip(names, found, strict=True)))
        return np.asarray(weights / weights.sum(-1, keepdims=True, dtype=np.float64))
    made = grid(choice, score, scores.shape[-1])
    found = exponent_parameters(made.steps, largest, made.end)
    attrs = dict(zip(("limit", "multiplier", "shift"), found, strict=True)) | made.attrs
    return np.asarray(_WEIGHTS[made.op](xp, integers, **attrs) / 2.0**made.bits)


_WEIGHTS: dict[str, Callable[..., Array]] = {
    "shift_attention": arith.shift_weights,
    "quadratic_attention": arith.quadratic_weights,
    "log2_attention": arith.log2_weights,
}


def true_softmax(scores: Array) -> FloatArray:
    """Softmax over the last axis, in float64."""
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))
