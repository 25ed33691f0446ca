"""What operands and attributes must satisfy together, beyond dtype, rank and range.

NumPy broadcasting would give a meaning to many mismatches (a bias longer than the layer is wide, a
mask of another batch). Fast kernels would not share that meaning, so the verifier rejects them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intformer import arith
from intformer.errors import VerifyError
from intformer.ir import shapes
from intformer.ir.graph import Shape

Attributes = Mapping[str, Any]

MAX_CHANNELS = 8192
"""Widest row of a normalisation: d = C·x - Σx of int16 values stays within int32."""

MAX_HEAD_SIZE = 8192
"""Most channels of an attention head: sums of that many products of bytes stay below 2^30, which
keeps every score above that of a dropped key, with or without zero points taken off."""

MAX_WINDOWS = 4096
"""Most positions of a patch (64 x 64); each costs the verifier one step."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise VerifyError(message)


def _per_channel(channels: Any, **lengths: Shape) -> None:
    for name, (length,) in lengths.items():
        _require(
            length in (1, channels),
            f"{name} has {length} values, must have 1 or one per channel ({channels})",
        )


def linear(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One bias per output channel."""
    _, weight, bias = operands
    _require(
        bias[0] == weight[1],
        f"bias has {bias[0]} values for {weight[1]} output channels",
    )


def unpack4(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One multiplier per group, and rows that end in the last group."""
    packed, multiplier = operands
    _require(
        packed[:2] == multiplier,
        f"multiplier {shapes.text(multiplier)} must have one value per group of packed "
        f"{shapes.text(packed)}",
    )
    _, groups, half = (int(d) for d in packed)
    most, rows = groups * half * 2, attrs["rows"]
    _require(
        most - 2 * half < rows <= most,
        f"rows = {rows} must end in the last of {groups} groups of {2 * half}",
    )


def requantize(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """Multiplier and offset for the tensor or per channel."""
    x, multiplier, offset = operands
    _require(len(x) > 0, "x must have a channel axis")
    _per_channel(x[-1], multiplier=multiplier, offset=offset)


def add(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """Multipliers and offset for the tensor or per channel of the sum."""
    a, b, a_multiplier, b_multiplier, offset = operands
    result = shapes.broadcast(a, b)
    _require(len(result) > 0, "operands must have a channel axis")
    _per_channel(result[-1], a_multiplier=a_multiplier, b_multiplier=b_multiplier, offset=offset)


def table(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One entry per value of a byte."""
    _require(operands[1] == (256,), f"a table needs 256 entries, has {operands[1][0]}")


def norm(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """Channels that are those of x, and an eps that the root has room for."""
    x, gain, offset = operands
    channels = attrs["channels"]
    _require(
        len(x) > 0 and channels == x[-1], f"channels = {channels}, but x has shape {shapes.text(x)}"
    )
    _require(channels <= MAX_CHANNELS, f"channels = {channels}, at most {MAX_CHANNELS}")
    _per_channel(channels, gain=gain, offset=offset)
    bits, _ = arith.norm_constants(channels)
    room = 4**bits - channels**2 * 2**30
    _require(
        attrs["eps"] < room, f"eps = {attrs['eps']} must be below {room} at {channels} channels"
    )


def attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """q [N,T,E], k and v [N,S,E], mask [N,S]; heads divide E; masked keys get weight 0."""
    q, k, v, *mask = operands
    heads, width = attrs["heads"], q[2]
    _require(k == v, f"k {shapes.text(k)} and v {shapes.text(v)} must have one shape")
    _require(
        (q[0], width) == (k[0], k[2]),
        f"q {shapes.text(q)} and k {shapes.text(k)} must agree in batch and width",
    )
    _require(
        isinstance(width, int) and heads >= 1 and width % heads == 0,
        f"heads = {heads} must be positive and divide the width {width}",
    )
    size = int(width) // heads
    _require(size <= MAX_HEAD_SIZE, f"heads of {size} channels, at most {MAX_HEAD_SIZE}")
    if mask:
        _require(
            mask[0] == k[:2], f"mask {shapes.text(mask[0])} must be {shapes.text(k[:2])}, as keys"
        )
        _masked_weight_is_zero(attrs, size)


def _masked_weight_is_zero(attrs: Attributes, size: int) -> None:
    """A masked score is -2^30, so its distance to any real score is at least 2^30 - 255²·size."""
    distance = min(2**30 - 255**2 * size, attrs["limit"])
    shift = attrs["exp_shift"]
    exponent = (distance * attrs["multiplier"] + 2 ** (shift - 1)) >> shift
    _require(
        exponent >= arith.EXP_STEPS,
        f"a masked key would keep a weight: its exponent is {exponent}, must reach "
        f"{arith.EXP_STEPS}; limit or multiplier is too small",
    )


def embedding(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One multiplier per row."""
    _, rows, multiplier = operands
    _require(rows[0] == multiplier[0], f"{multiplier[0]} multipliers for a table of {rows[0]} rows")


def positions(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """``like`` has a sequence axis."""
    _require(len(operands[0]) >= 2, f"like {shapes.text(operands[0])} has no sequence axis")


def patches(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """``size`` that is the image's, windows inside the padded image, one pad level per channel."""
    x, pad = operands
    for key, least in (("size", 1), ("kernel", 1), ("stride", 1), ("padding", 0)):
        _require(
            len(attrs[key]) == 2 and min(attrs[key]) >= least,
            f"{key} = {attrs[key]} must be two integers of at least {least}",
        )
    size, kernel, padding = attrs["size"], attrs["kernel"], attrs["padding"]
    _require(tuple(x[1:3]) == size, f"size = {size}, but x has shape {shapes.text(x)}")
    _require(pad[0] == x[3], f"pad has {pad[0]} values for {x[3]} channels")
    _require(
        kernel[0] * kernel[1] <= MAX_WINDOWS,
        f"kernel = {kernel} covers more than {MAX_WINDOWS} positions",
    )
    for length, window, border in zip(size, kernel, padding, strict=True):
        _require(border < window, f"padding = {padding} must be smaller than kernel = {kernel}")
        _require(window <= length + 2 * border, f"kernel = {kernel} is larger than the image")
