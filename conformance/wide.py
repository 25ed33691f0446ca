"""Streams of 20 bits: what writes them and the normalisations that read them."""

from __future__ import annotations

from itertools import product

from families import Cases, Maker, case, largest

from intformer.arith import norm_constants
from intformer.ir.graph import Array

HIGH = largest("int20") - 1


def wide_rows(make: Maker, channels: int) -> Array:
    """Full range, realistic, one massive value among small ones, almost constant."""
    rows = make.within("int32", -HIGH, HIGH, 4, channels)
    rows[1] = make.rng.normal(HIGH // 50, HIGH // 30, channels)
    rows[2] = make.rng.normal(0, 95, channels)
    rows[2, make.rng.integers(channels)] = -HIGH
    rows[3] = make.rng.integers(-1, 2, channels)
    return rows


def norms(make: Maker) -> Cases:
    sizes = (1, 2, 7, 16, 33, 576)
    for op, channels in product(("layer_norm20", "rms_norm20"), sizes):
        bits, _ = norm_constants(channels, 20)
        dtype = ("uint8", "int16")[channels % 2]
        shift = int(make.rng.integers(22, 38))
        top = 2 ** min(shift + largest(dtype).bit_length() - 15, 30)
        operands = {
            "x": wide_rows(make, channels).reshape(2, 2, channels),
            "gain": make.channels("int32", -top, top, channels, channels != 16),
            "offset": make.channels(
                "int64", -(1 << shift), largest(dtype) << shift, channels, True
            ),
        }
        attrs = {"channels": channels, "eps": 4**bits // 4 if channels == 33 else 7}
        found = case(op, operands, "", **attrs, shift=shift, dtype=dtype)
        found.ranges["x"] = (-HIGH, HIGH)
        yield f"{op}:{channels}-{dtype}", found


def writers(make: Maker) -> Cases:
    """Results reach twice the range that they are clipped to."""
    for index, source in enumerate(("int16", "int32", "uint8")):
        top = min(2**29, 2**45 // largest(source))
        shift = (top * largest(source)).bit_length() - 20
        for op, channels in product(("add", "requantize"), (3, 33)):
            names = ("a", "b") if op == "add" else ("x",)
            operands = {name: make.full(source, 2, 3, channels) for name in names}
            for name in names:
                key = "multiplier" if op == "requantize" else f"{name}_multiplier"
                operands[key] = make.channels("int32", -top, top, channels, bool(index))
            operands["offset"] = make.channels("int64", -(2**shift), 2**shift, channels, True)
            found = case(op, operands, " ".join(names), shift=shift, dtype="int20")
            yield f"{op}:{source}-int20-{channels}", found


WIDE = (norms, writers)
