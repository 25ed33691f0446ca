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

MAX_POWER = 8
"""Largest exponent of polynomial attention: its base then has 3 bits."""

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


MAX_ZERO_DEPTH = (2**31 - 1) // (255 * 128)
"""Inputs of a layer up to which Σ x·w fits int32 for any weights: kernels compute that sum and take
the zero point out of it afterwards."""


def linear(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One bias per output channel, and no zero point of x beside very many inputs."""
    _, weight, bias = operands
    zero = attrs.get("x_zero", 0)
    _require(
        zero == 0 or int(weight[0]) <= MAX_ZERO_DEPTH,
        f"x_zero = {zero} must be 0 for more than {MAX_ZERO_DEPTH} inputs",
    )
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
    _norm_of(16, attrs, operands)


def norm20(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """As ``norm``, of int32 values with 20 bits; the root then has at most 31 bits."""
    _require(attrs["channels"] <= 2**11, f"channels = {attrs['channels']}, at most {2**11}")
    _norm_of(20, attrs, operands)


def _norm_of(width: int, attrs: Attributes, operands: Sequence[Shape]) -> None:
    channels = _norm(attrs, operands)
    bits, _ = arith.norm_constants(channels, width)
    _room_for_eps(attrs, 4**bits - channels**2 * 4 ** (width - 1))


def newton_norm(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """As ``norm``; a fixed start that leaves the root room to converge from."""
    channels = _norm(attrs, operands)
    _room_for_eps(attrs, 4 ** arith.newton_bits(channels) - channels * 2**32)
    start = attrs["start"]
    _require(start in (0, 16), f"start = {start}: Newton starts at 2^16, or (0) at the bit length")


def _norm(attrs: Attributes, operands: Sequence[Shape]) -> int:
    x, gain, offset = operands
    channels: int = attrs["channels"]
    _require(
        len(x) > 0 and channels == x[-1], f"channels = {channels}, but x has shape {shapes.text(x)}"
    )
    _require(channels <= MAX_CHANNELS, f"channels = {channels}, at most {MAX_CHANNELS}")
    _per_channel(channels, gain=gain, offset=offset)
    return channels


def _room_for_eps(attrs: Attributes, room: int) -> None:
    eps, channels = attrs["eps"], attrs["channels"]
    _require(eps < room, f"eps = {eps} must be below {room} at {channels} channels")


def shift_gelu(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """Rows, and two exponentials that fit 31 bits together."""
    _require(len(operands[0]) > 0, "x must have a channel axis")
    _require(attrs["dtype"] != "int32", "a function of a byte has a result of 8 or 16 bits")
    octaves, unit = attrs["octaves"], attrs["unit"]
    _require(
        1 <= octaves <= 30 and unit << (octaves + 1) < 2**31,
        f"octaves = {octaves} and unit = {unit}: 2·unit·2^octaves must be below 2^31",
    )


def attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """q [N,T,E], k and v [N,S,E], mask [N,S]; heads divide E; masked keys get weight 0."""
    _attention(attrs, operands, arith.EXP_STEPS)


def quadratic_attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """As ``attention``; probabilities have at most 15 bits."""
    _fraction_bits(attrs)
    _attention(attrs, operands, arith.QUADRATIC_END)


def shift_attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """As ``attention``; probabilities have at most 15 bits."""
    _fraction_bits(attrs)
    _attention(attrs, operands, arith.SHIFT_REACH * attrs["unit"])


def _fraction_bits(attrs: Attributes) -> None:
    bits = attrs.get("bits", 1)
    _require(1 <= bits <= 15, f"bits = {bits} of a probability must be in 1..15")


def _attention(attrs: Attributes, operands: Sequence[Shape], end: int) -> None:
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
        _masked_weight_is_zero(attrs, size, end)


def biased_attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """q [N,W,T,E], k [N,W,S,E], v [N,W,S,F], bias [W|1,heads|1,T|1,S]; heads divide E and F."""
    q, k, v, bias = operands
    heads = attrs["heads"]
    _require(
        (*q[:2], q[3]) == (*k[:2], k[3]) and k[:3] == v[:3],
        f"q {shapes.text(q)}, k {shapes.text(k)} and v {shapes.text(v)} do not fit each other",
    )
    for width in (q[3], v[3]):
        _require(
            isinstance(width, int) and heads >= 1 and width % heads == 0,
            f"heads = {heads} must be positive and divide the width {width}",
        )
    _require(
        isinstance(q[3], int) and q[3] // heads <= MAX_HEAD_SIZE,
        f"heads of {q[3]} / {heads} channels, at most {MAX_HEAD_SIZE}",
    )
    full = (q[1], heads, q[2], k[2])
    _require(
        bias[3] == k[2] and all(b in (1, size) for b, size in zip(bias, full, strict=True)),
        f"bias {shapes.text(bias)} must be {shapes.text(full)}, or 1 on axes before the last",
    )


def biased_probabilities(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """As ``biased_attention``; probabilities have at most 15 bits."""
    _fraction_bits(attrs)
    biased_attention(attrs, operands)


def related_multiplier(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One rest for each multiplier."""
    source, rest = operands
    _require(source == rest, f"rest has {rest[0]} values for {source[0]} multipliers")


def turned_positions(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """Sines and cosines for each row of both tables, and enough rows."""
    coarse, fine, residue = operands
    rows, width = attrs["rows"], attrs["width"]
    _require(
        width % 2 == 0 and coarse[1] == fine[1] == width,
        f"coarse {shapes.text(coarse)} and fine {shapes.text(fine)} must be {width} wide, in pairs",
    )
    _require(
        residue == (coarse[0], fine[0], width // 2),
        f"residue {shapes.text(residue)} must be {shapes.text((coarse[0], fine[0], width // 2))}",
    )
    most = int(coarse[0]) * int(fine[0])
    _require(1 <= rows <= most, f"rows = {rows} of a table of {most}")


def _masked_weight_is_zero(attrs: Attributes, size: int, end: int) -> None:
    """A masked score is -2^30, so its distance to any real score is at least 2^30 - 255²·size."""
    distance = min(2**30 - 255**2 * size, attrs["limit"])
    shift = attrs["exp_shift"]
    exponent = (distance * attrs["multiplier"] + 2 ** (shift - 1)) >> shift
    _require(
        exponent >= end,
        f"a masked key would keep a weight: its exponent is {exponent}, must reach "
        f"{end}; limit or multiplier is too small",
    )


def _heads(attrs: Attributes, q: Shape, k: Shape, v: Shape, kv_heads: int) -> int:
    """q [N,T,H·D], k and v [N,S,K·D] with K a divisor of H; returns D."""
    heads = attrs["heads"]
    _require(k == v, f"k {shapes.text(k)} and v {shapes.text(v)} must have one shape")
    _require(q[0] == k[0], f"q {shapes.text(q)} and k {shapes.text(k)} must agree in batch")
    _require(
        heads >= 1 and kv_heads >= 1 and heads % kv_heads == 0,
        f"kv_heads = {kv_heads} must be positive and divide heads = {heads}",
    )
    width = q[2]
    _require(
        isinstance(width, int) and width % heads == 0,
        f"heads = {heads} must divide the width {width}",
    )
    size: int = int(width) // heads
    _require(
        k[2] == size * kv_heads,
        f"k {shapes.text(k)} must have kv_heads = {kv_heads} heads of {size} channels",
    )
    return size


def _one_per_row(like: Shape, position: Sequence[Shape]) -> None:
    for shape in position:
        _require(
            shape == like[:1], f"position {shapes.text(shape)} must be {shapes.text(like[:1])}"
        )


def causal_attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """q [N,T,H·D], k and v [N,S,K·D], position [N]; hidden keys get weight 0."""
    q, k, v, *position = operands
    size = _heads(attrs, q, k, v, attrs["kv_heads"])
    _one_per_row(q, position)
    _masked_weight_is_zero(attrs, size, arith.EXP_STEPS)


def polynomial_attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """q [N,T,E], k and v [N,S,E], mask [N,S]; one bias and one floor per head."""
    q, k, v, bias, floor, *mask = operands
    _heads(attrs, q, k, v, attrs["heads"])
    _polynomial(attrs, bias, floor)
    for shape in mask:
        _require(shape == k[:2], f"mask {shapes.text(shape)} must be {shapes.text(k[:2])}, as keys")


def causal_polynomial_attention(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """q [N,T,E], k and v [N,S,E], position [N]; one bias and one floor per head."""
    q, k, v, bias, floor, *position = operands
    _heads(attrs, q, k, v, attrs["heads"])
    _polynomial(attrs, bias, floor)
    _one_per_row(q, position)


def _polynomial(attrs: Attributes, bias: Shape, floor: Shape) -> None:
    power = attrs["power"]
    _require(1 <= power <= MAX_POWER, f"power = {power} must be 1 to {MAX_POWER}")
    for name, shape in (("bias", bias), ("floor", floor)):
        _require(
            shape == (attrs["heads"],), f"{name} has {shape[0]} values for {attrs['heads']} heads"
        )


def multiply(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """Multiplier and offset for the tensor or per channel of the product."""
    a, b, multiplier, offset = operands
    result = shapes.broadcast(a, b)
    _require(len(result) > 0, "operands must have a channel axis")
    _per_channel(result[-1], multiplier=multiplier, offset=offset)


def rotary(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """x [N,T,H·D] and tables [P, D/2]."""
    x, cosine, sine, *position = operands
    heads, size, rows = attrs["heads"], attrs["size"], attrs["rows"]
    _require(
        heads >= 1 and size >= 2 and size % 2 == 0 and x[2] == heads * size,
        f"{heads} heads of {size} channels do not make x {shapes.text(x)}",
    )
    for name, shape in (("cosine", cosine), ("sine", sine)):
        _require(
            shape == (rows, size // 2),
            f"{name} {shapes.text(shape)} must be {shapes.text((rows, size // 2))}",
        )
    _one_per_row(x, position)


def append_rows(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """cache [N,L,E], new [N,T,E], position [N]."""
    cache, new, position = operands
    _require(
        (cache[0], cache[2]) == (new[0], new[2]),
        f"cache {shapes.text(cache)} and new {shapes.text(new)} must agree in batch and width",
    )
    _one_per_row(cache, [position])


def positions_at(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """ids [N,T], a table of ``rows`` rows, position [N]."""
    ids, table, position = operands
    _require(
        attrs["rows"] == table[0], f"rows = {attrs['rows']} for a table of {table[0]} positions"
    )
    _one_per_row(ids, [position])


def tied_embedding(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One multiplier per column."""
    _, weight, multiplier = operands
    _require(
        weight[1] == multiplier[0], f"{multiplier[0]} multipliers for a vocabulary of {weight[1]}"
    )


def embedding(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """One multiplier per row."""
    _, rows, multiplier = operands
    _require(rows[0] == multiplier[0], f"{multiplier[0]} multipliers for a table of {rows[0]} rows")


def positions(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """``like`` has a sequence axis."""
    _require(len(operands[0]) >= 2, f"like {shapes.text(operands[0])} has no sequence axis")


def softmax(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """``x`` has an axis to normalise."""
    _require(len(operands[0]) > 0, "x must have an axis")


def matmul(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """Matrices of one rank whose leading dimensions are equal, or 1 in the second."""
    a, b = operands
    _require(
        len(a) == len(b) >= 2 and all(y in (1, x) for x, y in zip(a[:-2], b[:-2], strict=True)),
        f"a {shapes.text(a)} and b {shapes.text(b)} must agree in their leading dimensions",
    )


def depthwise(attrs: Attributes, operands: Sequence[Shape]) -> None:
    """As patches, with one weight per position and channel and one bias per channel."""
    x, pad, weight, bias = operands
    patches(attrs, (x, pad))
    positions = attrs["kernel"][0] * attrs["kernel"][1]
    _require(
        weight == (positions, x[3]) and bias == (x[3],),
        f"weight {shapes.text(weight)} must be {shapes.text((positions, x[3]))}, bias "
        f"{shapes.text(bias)} one value per channel",
    )


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
