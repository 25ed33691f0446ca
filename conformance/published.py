"""The cases of the operators that other papers published."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from families import (
    NARROW,
    RESULTS,
    Case,
    Cases,
    Maker,
    attention_attributes,
    case,
    largest,
    norm_rows,
)

from intformer.arith import QUADRATIC_END

KINDS = [("shift", 15), ("shift", 7), ("quadratic", 15), ("quadratic", 8), ("log2", 15)]
"""Operators and the bits of their probabilities."""


def grid_attributes(steps: float, end: int) -> dict[str, int]:
    """limit, multiplier and exp_shift for scores of which one unit is ``steps`` of a grid."""
    limit, shift = math.ceil((end + 1) / steps), 30
    while limit * round(steps * 2**shift) + 2 ** (shift - 1) >= 2**31:
        shift -= 1
    return {"limit": limit, "multiplier": round(steps * 2**shift), "exp_shift": shift}


def probabilities(make: Maker) -> Cases:
    """Attention with the softmax of other papers, plain and masked."""
    sizes = [
        (1, 1, 1, 1, 1),
        (2, 3, 2, 1, 8),
        (1, 2, 7, 2, 16),
        (1, 5, 17, 4, 32),
        (2, 2, 9, 2, 48),
    ]
    sizes += [(1, 17, 33, 2, 64), (1, 3, 197, 1, 64), (3, 7, 6, 3, 3)]
    for index, ((kind, bits), size, masked) in enumerate(product(KINDS, sizes, (False, True))):
        if bits < 8 and size[2] > 100:
            continue  # 7 bits round all probabilities of a long flat row to 0
        made = probability_case(make, kind, bits, size, masked, RESULTS[index % len(RESULTS)])
        name = "masked" if masked else "plain"
        yield f"{kind}_attention:{name}-{bits}-{'x'.join(map(str, size))}", made


def probability_case(
    make: Maker, kind: str, bits: int, sizes: tuple[int, ...], masked: bool, dtype: str
) -> Case:
    n, t, s, heads, size = sizes
    shapes = {"q": (n, t), "k": (n, s), "v": (n, s)}
    operands = {x: make.full("uint8", *rows, heads * size) for x, rows in shapes.items()}
    if masked:
        operands["mask"] = make.within("uint8", 0, 1, n, s)
        operands["mask"][-1, s // 2 + 1 :] = 0
    _, attrs = probability_attributes(make, kind, bits, (s, heads, size), dtype)
    return case(f"{kind}_attention", operands, " ".join(operands), **attrs)


def probability_attributes(
    make: Maker, kind: str, bits: int, sizes: tuple[int, int, int], dtype: str
) -> tuple[float, dict[str, Any]]:
    """What one unit of score is of a logit, and the attributes, for (keys, heads, head size)."""
    s, heads, size = sizes
    unit = int(make.rng.choice([1, 10, 24, 300 if s < 100 else 99, 1024 if s < 60 else 256]))
    end, scale = (21 * unit, unit) if kind == "shift" else (QUADRATIC_END, 256)
    spread = float(2.0 ** -make.rng.integers(6, 14)) / math.sqrt(size)
    attrs = attention_attributes(make, heads, dtype, spread) | grid_attributes(spread * scale, end)
    shift = 32 + bits - min(largest(dtype).bit_length(), 15)
    attrs |= {"gain": int(make.rng.integers(2**23, 2**24)), "shift": shift}
    middle = min(largest(dtype), 2**15) // 2
    attrs["offset"] = (int(make.rng.integers(middle)) << shift) + (1 << shift)
    attrs |= {"unit": unit} if kind == "shift" else {}
    attrs |= {"bits": bits} if kind != "log2" else {}
    return spread, attrs


def windows(make: Maker) -> Cases:
    """The same inside windows: biases of several forms, wider values, pairs that may not meet."""
    sizes = [(1, 4, 5, 5, 2, 2, 3), (2, 1, 2, 19, 1, 5, 4)]
    for index, ((kind, bits), size) in enumerate(product(KINDS, sizes)):
        n, count, t, s, heads, narrow, wide = size
        operands = {
            "q": make.full("uint8", n, count, t, heads * narrow),
            "k": make.full("uint8", n, count, s, heads * narrow),
            "v": make.full("uint8", n, count, s, heads * wide),
        }
        dtype = RESULTS[index % len(RESULTS)]
        spread, attrs = probability_attributes(make, kind, bits, (s, heads, narrow), dtype)
        shape = ((count, 1, t, s), (1, heads, t, s), (1, 1, 1, s))[index % 3]
        bias = make.rng.normal(0, 2 / spread, shape).astype(np.int32)
        bias[make.rng.random(shape) < 0.2] = -(2**29) - index % 2
        name = f"{bits}-{'x'.join(map(str, size))}-{dtype}"
        found = case(f"biased_{kind}_attention", {**operands, "bias": bias}, "q k v", **attrs)
        yield f"biased_{kind}_attention:{name}", found


def newton_norm(make: Maker) -> Cases:
    for channels, start in product((1, 2, 7, 16, 33, 96, 384), (0, 16)):
        for dtype, source in (("uint8", "int16"), ("int16", "int16"), ("uint6", "int8")):
            shift = int(make.rng.integers(24, 40))
            top = 2 ** min(shift + largest(dtype).bit_length() - 17, 30)
            operands = {
                "x": norm_rows(make, source, channels).reshape(2, 3, channels),
                "gain": make.channels("int32", -top, top, channels, dtype != "uint6"),
                "offset": make.channels(
                    "int64", -(1 << shift), largest(dtype) << shift, channels, True
                ),
            }
            attrs = {"channels": channels, "start": start, "eps": int(make.rng.integers(1, 10**6))}
            yield (
                f"{source}-{dtype}-{channels}-{start}",
                case("newton_norm", operands, "x", **attrs, shift=shift, dtype=dtype),
            )


def channel_powers(make: Maker) -> Cases:
    """FQ-ViT's inputs of a normalisation: 8 bits of each channel times 1, 2, 4 or 8."""
    factors = np.array([1, 2, 4, 8, 1], np.int32)
    operands = {
        "x": make.full("uint8", 2, 5),
        "multiplier": 2 * factors,
        "offset": -2 * 128 * factors.astype(np.int64),
    }
    yield "requantize:powers", case("requantize", operands, "x", shift=1, dtype="int16")


def shift_gelu(make: Maker) -> Cases:
    for columns, dtype in product((1, 15, 33, 256), (*NARROW, "uint4", "uint6")):
        unit, zero = int(make.rng.integers(1, 100)), int(make.rng.integers(256))
        x = make.full("uint8", 5, columns)
        x[1], x[2] = x[1] // 2, zero // 2
        attrs = {"zero": zero, "unit": unit, "octaves": int(make.rng.integers(8, 24))}
        attrs |= {"multiplier": int(make.rng.integers(2**19, 2**21)), "shift": 27}
        attrs["offset"] = (int(make.rng.integers(min(largest(dtype), 200) // 2)) << 27) + (1 << 26)
        yield f"{dtype}-{columns}", case("shift_gelu", {"x": x}, "x", **attrs, dtype=dtype)


PUBLISHED = (probabilities, newton_norm, shift_gelu)

PUBLISHED_WINDOWS = (windows,)
"""A family of its own at the end: the seeds of all others stay as they are."""

PUBLISHED_CHANNELS = (channel_powers,)
