"""The cases, operator by operator: every element type, edge values, odd sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle, product
from typing import Any

import numpy as np

from intformer.arith import EXP_STEPS, SATURATION, norm_constants
from intformer.ir.graph import INTEGER_RANGES, Array
from intformer.reference.conformance import Case

NARROW = ("uint8", "int8", "int16")
ACTIVATIONS = (*NARROW, "int32")
NUMBERS = (*ACTIVATIONS, "int64")
RESULTS = (*ACTIVATIONS, "uint4", "uint6")
Cases = Iterator[tuple[str, Case]]


class Maker:
    """Makes operands from one seeded stream."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def full(self, dtype: str, *shape: int) -> Array:
        """The whole range of a type; its ends, zero and their neighbours come first."""
        low, high = INTEGER_RANGES[dtype]
        array = self.rng.integers(low, high, shape, dtype, endpoint=True)
        special = {v for e in (low, 0, high) for v in (e - 1, e, e + 1) if low <= v <= high}
        edges = self.rng.permutation(np.array(sorted(special), dtype))[: array.size]
        places = self.rng.choice(array.size, len(edges), replace=False)
        array.reshape(-1)[places] = edges
        return array

    def within(self, dtype: str, low: int, high: int, *shape: int) -> Array:
        """A range, both ends of it among the values where there is room."""
        array = self.rng.integers(low, high, shape, dtype, endpoint=True)
        flat = array.reshape(-1)
        flat[:1], flat[-1:] = low, high
        return array

    def channels(self, dtype: str, low: int, high: int, channels: int, each: bool) -> Array:
        """One value, or one per channel."""
        return self.within(dtype, low, high, channels if each else 1)


def largest(dtype: str) -> int:
    """The largest magnitude that a type or a saturated result can have."""
    low, high = SATURATION.get(dtype) or INTEGER_RANGES[dtype]
    return max(-low, high)


def case(op: str, operands: dict[str, Array], inputs: str, **attrs: Any) -> Case:
    """A case whose ``inputs`` (names, separated by spaces) may take any value of their type."""
    ranges = {name: INTEGER_RANGES[str(operands[name].dtype)] for name in inputs.split()}
    return Case(op, attrs, operands, ranges)


def linear(make: Maker) -> Cases:
    sizes = [(1, 1, 1), (1, 2, 3), (2, 3, 1), (3, 4, 8), (5, 5, 7), (4, 8, 16), (1, 15, 17)]
    sizes += [(7, 16, 33), (6, 17, 9), (3, 31, 8), (13, 32, 32), (2, 33, 31), (9, 63, 5)]
    sizes += [(4, 64, 48), (5, 65, 15), (17, 100, 10), (2, 127, 64), (3, 129, 33), (1, 520, 6)]
    zeros, biases = cycle((0, 128, 255, 1, 131)), cycle(("int16", "int32", "int8"))
    for dtype, op in (("uint8", "linear"), ("int16", "linear16")):
        for rows, depth, width in sizes:
            operands = {
                "x": make.full(dtype, rows, depth),
                "weight": make.full("int8", depth, width),
                "bias": make.within("int32", -(2**20), 2**20, width),
            }
            attrs: dict[str, int] = {}
            if op == "linear":
                attrs["x_zero"], kind = next(zeros), next(biases)
                operands["bias"] = operands["bias"].clip(*INTEGER_RANGES[kind]).astype(kind)
            yield f"{rows}x{depth}x{width}", case(op, operands, "x", **attrs)
        for weight, x in product((-128, 127), (INTEGER_RANGES[dtype])):
            operands = {
                "x": np.full((2, 3, 96), x, dtype),
                "weight": np.full((96, 5), weight, np.int8),
                "bias": np.array([-(2**29), -1, 0, 1, 2**29], np.int32),
            }
            attrs = {"x_zero": 255 - x} if op == "linear" else {}
            yield f"all-{weight}-{x}", case(op, operands, "x", **attrs)
    for group in (2, 4, 8):
        yield f"safe-{group}", safe_linear(make, group)


def safe_linear(make: Maker, group: int) -> Case:
    """Weights with Σ|w| <= 128 over each group along the depth: sums of products fit int16."""
    weight = make.within("int8", -(128 // group), 128 // group, 72, 12)
    x = make.full("uint8", 9, 72)
    x[0] = 255
    operands = {"x": x, "weight": weight, "bias": make.within("int32", -9, 9, 12)}
    return case("linear", operands, "x", x_zero=9)


def unpack4(make: Maker) -> Cases:
    """Columns, groups, half a group; all levels, with the largest multipliers of either sign."""
    for columns, groups, half in ((1, 1, 1), (3, 2, 16), (8, 3, 4), (5, 1, 32), (17, 4, 16)):
        packed = make.within("uint8", 0, 255, columns, groups, half)
        multiplier = make.within("int8", -15, 15, columns, groups)
        for rows in {2 * half * groups, 2 * half * (groups - 1) + 1}:
            operands = {"packed": packed, "multiplier": multiplier}
            yield f"{columns}x{groups}x{half}-{rows}", case("unpack4", operands, "", rows=rows)
    steep = {"packed": np.array([[[0xFF, 0x88]]], np.uint8), "multiplier": np.int8([[18]])}
    yield "steep", case("unpack4", steep, "", rows=3)


def stored(make: Maker) -> Cases:
    """What is computed of constants alone, beside weights of 4 bits."""
    for factor, shift in ((1, 1), (2**31 - 1, 32), (12345, 20)):
        operands = {
            "source": make.within("int32", -(2**30), 2**30, 7),
            "rest": make.full("int8", 7),
        }
        yield (
            f"related-{factor}-{shift}",
            case("related_multiplier", operands, "", factor=factor, shift=shift),
        )
    for values, pairs in product(("int16", "int32"), ("uint8", "int16")):
        operands = {"values": make.full(values, 9, 2), "pairs": make.within(pairs, 0, 8, 2, 3, 4)}
        yield f"pairs-{values}-{pairs}", case("pair_bias", operands, "")
    for a, b, half, rows in ((1, 1, 1, 1), (3, 4, 5, 11)):
        tables = (make.within("int16", -(2**14), 2**14, n, 2 * half) for n in (a, b))
        operands = dict(zip(("coarse", "fine"), tables, strict=True))
        operands["residue"] = make.full("uint8", a, b, half)
        yield f"turned-{rows}", case("turned_positions", operands, "", rows=rows, width=2 * half)


def requantize(make: Maker) -> Cases:
    """Results reach twice the range that they are clipped to."""
    for source, dtype, each in product(ACTIVATIONS, RESULTS, (False, True)):
        reach = 2 * largest(dtype) / largest(source)
        for shift, channels in ((1, 3), (8, 17), (16, 8), (31, 33), (32, 1), (40, 5), (45, 16)):
            top = round(min(2**31 - 1, reach * 2**shift, 2**61 / largest(source)))
            if dtype == "int32":
                top //= 4
            if top < 4 or (shift not in (8, 16, 31) and (source, dtype) != ("int32", "uint8")):
                continue
            most = min(largest(dtype), 2**28) << (shift - 1)
            operands = {
                "x": make.full(source, 5, channels),
                "multiplier": make.channels("int32", -top, top, channels, each),
                "offset": make.channels("int64", -most // 8, most, channels, each),
            }
            yield (
                f"{source}-{dtype}-{'each' if each else 'one'}-{shift}",
                case("requantize", operands, "x", shift=shift, dtype=dtype),
            )
    ties = np.arange(-9, 10, dtype=np.int32)[:, None]
    half = {"x": ties, "multiplier": np.int32([2**17]), "offset": np.array([2**17])}
    yield "ties", case("requantize", half, "x", shift=18, dtype="int16")


def add(make: Maker) -> Cases:
    shapes = [((2, 3, 8), (2, 3, 8)), ((2, 3, 17), (1, 3, 17)), ((3, 5), (5,)), ((4, 1), (1, 1))]
    for a, b, dtype in product(ACTIVATIONS, ACTIVATIONS, ("int16", "uint8")):
        if dtype == "uint8" and a != b:
            continue
        for index, (left, right) in enumerate(shapes):
            if index and (a, b) not in (("int16", "int32"), ("int16", "int16")):
                continue
            operands = {"a": make.full(a, *left), "b": make.full(b, *right)}
            reach = max(largest(a), largest(b))
            top = min(2**29, 2**58 // reach)
            shift = (2 * top * reach).bit_length() - largest(dtype).bit_length() - 1
            for name in ("a_multiplier", "b_multiplier"):
                each = bool(make.rng.integers(2))
                operands[name] = make.channels("int32", -top, top, left[-1], each)
            operands["offset"] = make.channels("int64", -(2**shift), 2**shift, left[-1], True)
            yield f"{a}-{b}-{dtype}-{index}", case("add", operands, "a b", shift=shift, dtype=dtype)


def table(make: Maker) -> Cases:
    for dtype, size in product(NARROW, (1, 15, 33, 256, 1000)):
        x = make.full("uint8", 1, size)
        if size == 256:
            x[0] = np.arange(256)
        yield f"{dtype}-{size}", case("table", {"x": x, "entries": make.full(dtype, 256)}, "x")


def norm_rows(make: Maker, dtype: str, channels: int) -> Array:
    """Full range, realistic, constant, one outlier, two levels, almost constant."""
    low, high = INTEGER_RANGES[dtype]
    rows = np.zeros((6, channels), dtype)
    rows[0] = make.full(dtype, channels)
    rows[1] = make.rng.normal(high // 50, high // 30, channels).clip(low, high)
    rows[2] = make.rng.choice([low, -1, 0, 1, high])
    rows[3, make.rng.integers(channels)] = low
    rows[4] = np.where(make.rng.random(channels) < 0.5, low, high)
    rows[5] = make.rng.integers(-1, 2, channels)
    return rows


def norm(make: Maker) -> Cases:
    for op, channels in product(
        ("layer_norm", "rms_norm"), (1, 2, 3, 7, 8, 15, 16, 31, 33, 64, 96, 192, 384, 1000)
    ):
        bits, _ = norm_constants(channels)
        for index, dtype in enumerate(("uint8", "int8", "int16", "uint6")):
            source = "int8" if index == 1 else "int16"
            shift = int(make.rng.integers(18, 40))
            top = 2 ** min(shift + largest(dtype).bit_length() - 15, 30)
            operands = {
                "x": norm_rows(make, source, channels).reshape(2, 3, channels),
                "gain": make.channels("int32", -top, top, channels, index != 2),
                "offset": make.channels(
                    "int64", -(1 << shift), largest(dtype) << shift, channels, True
                ),
            }
            attrs = {"channels": channels, "eps": (1, 12345, 4**bits // 4, 7)[index]}
            if channels < 300 or index in (0, 2):
                yield (
                    f"{op}:{source}-{dtype}-{channels}",
                    case(op, operands, "x", **attrs, shift=shift, dtype=dtype),
                )


def score_attributes(octaves: float) -> dict[str, int]:
    """limit, multiplier and exp_shift for scores of which one unit is ``octaves``."""
    steps = octaves * 256
    limit = math.ceil((EXP_STEPS + 1) / steps)
    shift = 30
    while limit * round(steps * 2**shift) + 2 ** (shift - 1) >= 2**31:
        shift -= 1
    return {"limit": limit, "multiplier": round(steps * 2**shift), "exp_shift": shift}


def attention(make: Maker) -> Cases:
    sizes = [(1, 1, 1, 1, 1), (1, 1, 1, 1, 8), (2, 3, 2, 1, 8), (1, 2, 7, 2, 16), (2, 1, 16, 3, 24)]
    sizes += [(1, 5, 17, 4, 32), (1, 4, 5, 1, 33), (2, 2, 9, 2, 48), (1, 17, 33, 2, 64)]
    sizes += [(1, 3, 197, 1, 64), (1, 2, 31, 1, 80), (3, 7, 6, 3, 3), (1, 65, 65, 1, 16)]
    for index, ((n, t, s, heads, size), masked) in enumerate(product(sizes, (False, True))):
        width = heads * size
        operands = {
            name: make.full("uint8", n, r, width) for name, r in zip("qkv", (t, s, s), strict=True)
        }
        if masked:
            operands["mask"] = make.within("uint8", 0, 1, n, s)
            operands["mask"][-1, s // 2 + 1 :] = 0
            operands["mask"][0, 0] = 1 if n > 1 else index // 2 % 2
        dtype = RESULTS[index % len(RESULTS)]
        kind = "masked" if masked else "plain"
        spread = float(2.0 ** -make.rng.integers(6, 14)) / math.sqrt(size)
        attrs = attention_attributes(make, heads, dtype, spread)
        yield (
            f"{kind}-{n}x{t}x{s}x{heads}x{size}-{dtype}",
            case("attention", operands, " ".join(operands), **attrs),
        )


def biased_attention(make: Maker) -> Cases:
    """Windows with biases of every form; values wider than queries; pairs that may not meet."""
    sizes = [(1, 1, 1, 1, 1, 1, 1), (2, 3, 4, 4, 2, 8, 8), (1, 2, 33, 33, 2, 8, 16)]
    sizes += [(1, 2, 9, 17, 2, 16, 33), (1, 1, 7, 33, 4, 5, 3), (1, 2, 5, 64, 1, 20, 20)]
    for index, (n, windows, t, s, heads, size, wide) in enumerate(sizes):
        operands = {
            "q": make.full("uint8", n, windows, t, heads * size),
            "k": make.full("uint8", n, windows, s, heads * size),
            "v": make.full("uint8", n, windows, s, heads * wide),
        }
        forms = [(windows, heads, t, s), (1, heads, t, s), (windows, 1, t, s), (1, 1, 1, s)]
        for form, shape in enumerate(forms):
            spread = float(2.0 ** -make.rng.integers(6, 14)) / math.sqrt(size)
            bias = make.rng.normal(0, 2 / spread, shape).astype(np.int32)
            bias[make.rng.random(shape) < 0.2] = -(2**29) - form
            dtype = RESULTS[(index + form) % len(RESULTS)]
            attrs = attention_attributes(make, heads, dtype, spread)
            name = f"{n}x{windows}x{t}x{s}x{heads}x{size}x{wide}-{form}-{dtype}"
            yield name, case("biased_attention", {**operands, "bias": bias}, "q k v", **attrs)


def attention_attributes(make: Maker, heads: int, dtype: str, octaves: float) -> dict[str, Any]:
    zeros = make.rng.choice([0, 1, 127, 128, 131, 255], 3)
    gain = 2 ** (24 + min(largest(dtype).bit_length(), 15))
    return {
        "heads": heads,
        **{f"{name}_zero": int(zero) for name, zero in zip("qkv", zeros, strict=True)},
        **score_attributes(octaves),
        "gain": gain - int(make.rng.integers(gain // 2)),
        "offset": (int(make.rng.integers(largest(dtype) % 2**15 + 1)) << 30) + (1 << 30),
        "shift": 31,
        "dtype": dtype,
    }


def embedding(make: Maker) -> Cases:
    for ids, dtype, columns in product(("int32", "int64"), ACTIVATIONS, (1, 16, 33)):
        operands = {
            "ids": make.within(ids, 0, 12, 2, 7),
            "rows": make.full("int8", 13, columns),
            "multiplier": make.full("int32", 13),
        }
        shift = 39 - largest(dtype).bit_length() if dtype != "int32" else 10
        made = case("embedding", operands, "", shift=shift, dtype=dtype)
        made.ranges["ids"] = (0, 12)
        yield f"{ids}-{dtype}-{columns}", made


def positions(make: Maker) -> Cases:
    lengths = zip((1, 4, 5, 8, 9), NUMBERS, strict=True)
    for dtype, (length, like) in product(("int16", "int8"), lengths):
        operands = {"like": make.full(like, 2, length), "table": make.full(dtype, 9, 7)}
        yield f"{dtype}-{length}", case("positions", operands, "like")


def reductions(make: Maker) -> Cases:
    for dtype, axis in product(ACTIVATIONS, (0, 1, -1)):
        x = make.full(dtype, 3, 17, 5)
        made = case("sum", {"x": x}, "x", axis=axis)
        if dtype == "int32":
            made.operands["x"] = made.operands["x"] // 32
            made.ranges["x"] = (-(2**26), 2**26 - 1)
        yield f"sum:{dtype}-axis{axis}", made
        ties = make.rng.choice(make.full(dtype, 3), (4, 9, 6))
        yield f"argmax:{dtype}-axis{axis}", case("argmax", {"x": ties}, "x", axis=axis)
    yield "argmax:wide", case("argmax", {"x": make.full("int32", 2, 1003)}, "x", axis=-1)


def patches(make: Maker) -> Cases:
    windows = [((1, 1), (1, 1), (0, 0)), ((2, 2), (2, 2), (0, 0)), ((3, 3), (1, 1), (1, 1))]
    windows += [((3, 3), (2, 2), (1, 1)), ((4, 4), (4, 4), (0, 0)), ((3, 2), (2, 3), (0, 1))]
    windows += [((5, 7), (5, 7), (0, 0)), ((7, 5), (3, 2), (3, 4))]
    for (kernel, stride, padding), channels in product(windows, (1, 3, 4)):
        operands = {"x": make.full("uint8", 2, 9, 8, channels), "pad": make.full("uint8", channels)}
        attrs = {"size": (9, 8), "kernel": kernel, "stride": stride, "padding": padding}
        name = "-".join("x".join(str(v) for v in pair) for pair in (kernel, stride, padding))
        yield f"{name}-{channels}", case("patches", operands, "x", **attrs)


def moves(make: Maker) -> Cases:
    for dtype in NUMBERS:
        x = {"x": make.full(dtype, 2, 3, 10)}
        for index, shape in enumerate([(0, -1), (0, 0, 2, -1), (-1,), (5, 12), (1, 0, 20)]):
            yield f"reshape:{dtype}-{index}", case("reshape", x, "x", shape=shape)
        for perm in [(0, 2, 1), (2, 1, 0), (1, 0, 2)]:
            name = "".join(str(p) for p in perm)
            yield f"transpose:{dtype}-{name}", case("transpose", x, "x", perm=perm)
        for axis, start, stop in [(1, 0, 1), (-1, 3, 8), (0, 1, 2)]:
            attrs = {"axis": axis, "start": start, "stop": stop}
            yield f"slice:{dtype}-{axis}-{start}-{stop}", case("slice", x, "x", **attrs)
        for axis in (1, -1):
            sizes = [(2, n, 4) if axis == 1 else (2, 4, n) for n in (1, 3, 2)]
            parts = {f"x{i}": make.full(dtype, *size) for i, size in enumerate(sizes)}
            yield f"concat:{dtype}-axis{axis}", case("concat", parts, "x0 x1 x2", axis=axis)
        for n in (1, 5):
            parts = {"x": make.full(dtype, 1, 2, 7), "like": make.full(dtype, n, 2)}
            yield f"repeat_batch:{dtype}-{n}", case("repeat_batch", parts, "like")


def products(make: Maker) -> Cases:
    sizes = [((1, 1), (1, 1)), ((5, 7), (7, 3)), ((2, 3, 4, 33), (2, 3, 33, 17))]
    sizes += [((2, 3, 6, 5), (1, 3, 5, 16)), ((3, 2, 64), (1, 64, 9))]
    sizes += [((2, 9, 41), (2, 41, 50)), ((7, 300), (300, 32))]  # several blocks, odd lengths
    for index, (left, right) in enumerate(sizes):
        operands = {"a": make.full("uint8", *left), "b": make.full("uint8", *right)}
        zeros = {f"{n}_zero": int(make.rng.choice([0, 1, 128, 255])) for n in "ab"}
        yield f"matmul:{index}", case("matmul", operands, "a b", **zeros)


def depthwise(make: Maker) -> Cases:
    windows = [((1, 1), (1, 1), (0, 0)), ((3, 3), (1, 1), (1, 1)), ((3, 3), (2, 2), (1, 1))]
    windows += [((2, 2), (2, 2), (0, 0)), ((5, 4), (1, 3), (2, 3)), ((7, 7), (1, 1), (3, 3))]
    for (kernel, stride, padding), channels in product(windows, (2, 17)):
        operands = {
            "x": make.full("uint8", 2, 9, 8, channels),
            "pad": make.full("uint8", channels),
            "weight": make.full("int8", kernel[0] * kernel[1], channels),
            "bias": make.within("int32", -(2**20), 2**20, channels),
        }
        attrs = {"size": (9, 8), "kernel": kernel, "stride": stride, "padding": padding}
        name = "-".join("x".join(str(v) for v in pair) for pair in (kernel, stride, padding))
        yield f"{name}-{channels}", case("depthwise", operands, "x", **attrs)


def softmax(make: Maker) -> Cases:
    for index, columns in enumerate((1, 2, 7, 16, 49, 197)):
        x = make.full("int16", 2, 5, columns)
        x[0, 0], x[0, 1] = 77, make.rng.normal(0, 300, columns).astype(np.int16)
        dtype = RESULTS[index]
        attrs = attention_attributes(make, 1, dtype, 2.0 ** -(4 + index))
        for key in ("heads", "q_zero", "k_zero", "v_zero"):
            del attrs[key]
        attrs["gain"] *= max(columns // 6, 1)
        yield f"{columns}-{dtype}", case("softmax", {"x": x}, "x", **attrs)


def maxima(make: Maker) -> Cases:
    for dtype, axis in product(NARROW, (0, 1, -1)):
        x = {"x": make.full(dtype, 3, 17, 5)}
        yield f"max:{dtype}-axis{axis}", case("max", x, "x", axis=axis, dtype=dtype)


FAMILIES = (
    linear,
    requantize,
    add,
    table,
    norm,
    attention,
    embedding,
    positions,
    reductions,
    patches,
    moves,
    unpack4,
)

IMAGE_FAMILIES = (biased_attention, products, depthwise, softmax, maxima)
"""What hierarchical vision models need besides."""

STORED = (stored,)
"""What is computed of constants alone."""
