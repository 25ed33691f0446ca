"""The cases of the operators that sequences need; see ``families``."""

from __future__ import annotations

from itertools import product

from families import RESULTS, Cases, Maker, attention_attributes, case, largest, norm_rows

from intformer.ir.graph import Array
from intformer.reference.conformance import Case

SIZES = [(1, 1, 1, 1, 1, 1), (2, 3, 4, 2, 1, 8), (1, 1, 33, 4, 2, 16), (3, 2, 16, 3, 3, 5)]
SIZES += [(2, 5, 9, 4, 4, 32), (1, 4, 65, 2, 1, 64), (4, 1, 17, 8, 8, 64), (1, 17, 17, 1, 1, 33)]
SIZES += [(2, 1, 131, 6, 2, 48)]
"""Batch, queries, keys, heads, heads of keys, channels of a head."""


def projections(make: Maker, n: int, t: int, s: int, width: int, kv_width: int) -> dict[str, Array]:
    rows = (("q", t, width), ("k", s, kv_width), ("v", s, kv_width))
    return {name: make.full("uint8", n, r, w) for name, r, w in rows}


def with_position(make: Maker, found: Case, n: int, top: int) -> Case:
    """The case with a position for each row, the first and the last possible among them."""
    found.operands["position"] = make.within("int64", 0, top, n)
    found.ranges["position"] = (0, top)
    return found


def causal_attention(make: Maker) -> Cases:
    for index, (sizes, cached) in enumerate(product(SIZES, (False, True))):
        n, t, s, heads, kv, size = sizes
        s = s if cached else t
        dtype = RESULTS[index % len(RESULTS)]
        spread = float(2.0 ** -make.rng.integers(6, 14)) / size**0.5
        attrs = attention_attributes(make, heads, dtype, spread)
        operands = projections(make, n, t, s, heads * size, kv * size)
        found = case("causal_attention", operands, "q k v", kv_heads=kv, **attrs)
        kind = "cached" if cached else "plain"
        if cached:
            found = with_position(make, found, n, s - 1)
        yield f"{kind}-{n}x{t}x{s}x{heads}-{kv}x{size}-{dtype}", found


def polynomial_attention(make: Maker) -> Cases:
    kinds = ("plain", "masked", "causal", "cached")
    for index, (sizes, kind) in enumerate(product(SIZES, kinds)):
        n, t, s, heads, _, size = sizes
        s = t if kind == "causal" else s
        power, dtype = 1 + index % 4, RESULTS[index % len(RESULTS)]
        operands = projections(make, n, t, s, heads * size, heads * size)
        reach = round(20_000 * size**0.5)
        operands["bias"] = make.within("int32", -reach, 2 * reach, heads)
        operands["floor"] = make.within("int32", 1, 2 ** (20 - index % 18), heads)
        inputs = "q k v"
        if kind == "masked":
            operands["mask"] = make.within("uint8", 0, 1, n, s)
            operands["mask"][0, 0] = index // 4 % 2
            inputs += " mask"
        op = "polynomial_attention" if kind in kinds[:2] else "causal_polynomial_attention"
        attrs = polynomial_attributes(make, heads, dtype, power, reach)
        found = case(op, operands, inputs, **attrs)
        if kind == "cached":
            found = with_position(make, found, n, s - 1)
        yield f"{kind}-{n}x{t}x{s}x{heads}x{size}-{power}-{dtype}", found


def polynomial_attributes(
    make: Maker, heads: int, dtype: str, power: int, reach: int
) -> dict[str, int | str]:
    attrs = attention_attributes(make, heads, dtype, 1.0)
    most = 2 ** (30 // power) - 1
    octaves = int(make.rng.integers(0, 4))
    shift, ratio = 30, most / reach / 2.0**octaves
    while shift > 1 and ratio * 2**shift * (most / ratio) >= 2**30:
        shift -= 1
    factor = max(round(ratio * 2**shift), 1)
    limit = min((most << shift) // factor + 1, (2**31 - 1 - 2 ** (shift - 1)) // factor)
    del attrs["exp_shift"]
    attrs |= {"limit": limit, "multiplier": factor, "poly_shift": shift}
    return {**attrs, "power": power}


def multiply(make: Maker) -> Cases:
    narrow = ("uint8", "int8", "int16")
    for a, b, dtype in product(narrow, narrow, ("uint8", "int16")):
        for channels in (1, 17, 64) if a == b else (33,):
            operands = {name: make.full(x, 2, 3, channels) for name, x in (("a", a), ("b", b))}
            bits = (largest(a) * largest(b)).bit_length() - largest(dtype).bit_length()
            shift = 30 + max(bits, 0)
            each = bool(make.rng.integers(2))
            operands["multiplier"] = make.channels("int32", -(2**30), 2**30, channels, each)
            operands["offset"] = make.channels("int64", -(2**shift), 2**shift, channels, True)
            zeros = {"a_zero": int(make.rng.integers(256)) if a == "uint8" else 0}
            zeros["b_zero"] = int(make.rng.integers(256)) if b == "uint8" else 0
            found = case("multiply", operands, "a b", **zeros, shift=shift, dtype=dtype)
            yield f"{a}-{b}-{dtype}-{channels}", found


def rotary(make: Maker) -> Cases:
    for (n, t, heads, size), cached in product(
        [(1, 1, 1, 2), (2, 3, 2, 6), (1, 5, 3, 32), (3, 2, 1, 64), (2, 1, 4, 34)], (False, True)
    ):
        rows = 40
        tables = {name: make.within("int16", -(2**14), 2**14, rows, size // 2) for name in "cs"}
        operands = {"x": make.full("int16", n, t, heads * size)}
        operands |= {"cosine": tables["c"], "sine": tables["s"]}
        found = case("rotary", operands, "x", heads=heads, size=size, rows=rows)
        if cached:
            found = with_position(make, found, n, rows)
        yield f"{'cached' if cached else 'plain'}-{n}x{t}x{heads}x{size}", found


def caches(make: Maker) -> Cases:
    for n, t, length, width in [(1, 1, 1, 1), (3, 1, 9, 32), (2, 4, 7, 5), (4, 3, 3, 16)]:
        operands = {"cache": make.full("uint8", n, length, width)}
        operands["new"] = make.full("uint8", n, t, width)
        found = case("append_rows", operands, "cache new")
        yield f"append_rows:{n}x{t}x{length}x{width}", with_position(make, found, n, length)
    for ids, dtype in product(("int64", "int32"), ("int16", "int8")):
        operands = {"ids": make.full(ids, 3, 4), "table": make.full(dtype, 20, 7)}
        found = case("positions_at", operands, "ids", rows=20)
        yield f"positions_at:{ids}-{dtype}", with_position(make, found, 3, 19)


def tied_embedding(make: Maker) -> Cases:
    for dtype, ids in product(("int16", "int8", "uint8"), ("int64", "int32")):
        operands = {"ids": make.within(ids, 0, 29, 2, 9), "weight": make.full("int8", 12, 30)}
        operands["multiplier"] = make.within("int32", 1, largest(dtype) << 15, 30)
        found = case("tied_embedding", operands, "", shift=24, dtype=dtype)
        found.ranges["ids"] = (0, 29)
        yield f"{ids}-{dtype}", found


def l1_norm(make: Maker) -> Cases:
    channels = [1, 2, 3, 8, 15, 16, 33, 64, 192, 577, 1024]
    for index, (count, source) in enumerate(product(channels, ("int16", "int8"))):
        dtype = RESULTS[index % len(RESULTS)]
        shift = 31 - (largest(dtype).bit_length() - 1) // 2
        reach = min(largest(dtype), 2**24)
        top = min(2**31 - 1, round(reach / 3 / 2**12 * 2**shift))
        most = min(largest(dtype), 2**20) << shift
        operands = {
            "x": norm_rows(make, source, count),
            "gain": make.channels("int32", -top, top, count, bool(index % 3)),
            "offset": make.channels("int64", -most // 8, most // 2, count, bool(index % 2)),
        }
        attrs = {"channels": count, "eps": int(10.0 ** make.rng.integers(0, 9)), "shift": shift}
        yield f"{source}-{count}-{dtype}", case("l1_norm", operands, "x", dtype=dtype, **attrs)


SEQUENCES = (
    causal_attention,
    polynomial_attention,
    multiply,
    rotary,
    caches,
    tied_embedding,
    l1_norm,
)
