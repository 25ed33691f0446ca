"""One-operator programs of the sequence operators, random within what attention meets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intformer.ir.graph import Graph
from programs import Builder

LIMITS = {"N": 64, "T": 32, "S": 32, "L": 32}
SIZES = {"N": 3, "T": 4, "S": 6, "L": 9}
WIDTH = 24


def build(seed: int) -> Builder:
    return Builder(seed, LIMITS)


def finish(b: Builder, value: str) -> Graph:
    b.output("y", value)
    return b.graph


def qkv(b: Builder, keys: str, kv_width: int = WIDTH) -> tuple[str, str, str]:
    q = b.input("q", "uint8", ("N", "T", WIDTH))
    k, v = (b.input(x, "uint8", ("N", keys, kv_width)) for x in "kv")
    return q, k, v


def mix(b: Builder) -> dict[str, int]:
    zeros = {f"{x}_zero": int(b.rng.integers(256)) for x in "qkv"}
    return {**zeros, "gain": 3 << 28, "offset": (100 << 28) + (1 << 27), "shift": 28}


def softmax(b: Builder) -> dict[str, int]:
    return {**mix(b), "limit": 40_000, "multiplier": 50_000, "exp_shift": 19}


def position(b: Builder, top: int = 5) -> str:
    return b.input("position", "int64", ("N",), (0, top))


def causal(seed: int, cached: bool, kv_heads: int = 4) -> Graph:
    b = build(seed)
    operands = qkv(b, "L" if cached else "T", kv_heads * WIDTH // 4)
    extra = [position(b)] if cached else []
    attrs = {**softmax(b), "heads": 4, "kv_heads": kv_heads, "dtype": "uint8"}
    return finish(b, b.node("causal_attention", *operands, *extra, **attrs))


def polynomial(seed: int, kind: str, power: int = 2) -> Graph:
    b = build(seed)
    operands = qkv(b, {"plain": "S", "masked": "S", "causal": "T", "cached": "L"}[kind])
    bias = b.random("bias", "int32", (4,), -20_000, 60_000)
    floor = b.random("floor", "int32", (4,), 1, 2**20)
    extra = {"cached": lambda: [position(b)], "masked": lambda: [mask(b)]}.get(kind, list)()
    shift = {1: 1, 2: 14, 3: 18}[power]
    attrs = {**mix(b), "limit": 2**14 << (power == 1), "multiplier": 2**14, "poly_shift": shift}
    attrs |= {"heads": 4, "power": power, "dtype": "uint8"}
    op = "polynomial_attention" if kind in ("plain", "masked") else "causal_polynomial_attention"
    return finish(b, b.node(op, *operands, bias, floor, *extra, **attrs))


def mask(b: Builder) -> str:
    return b.input("mask", "uint8", ("N", "S"), (0, 1))


def multiply(seed: int, left: str, right: str, dtype: str) -> Graph:
    b = build(seed)
    x = b.input("a", left, ("N", "T", WIDTH))
    y = b.input("b", right, ("N", "T", WIDTH))
    factor = b.factors("m", 2.0**-14, 40, WIDTH)
    zero = 0 if dtype == "int16" else 128
    zeros = {"a_zero": 17 if left == "uint8" else 0, "b_zero": 3 if right == "uint8" else 0}
    offset = b.offset("o", 40, zero)
    return finish(b, b.node("multiply", x, y, factor, offset, **zeros, shift=40, dtype=dtype))


def rotary(seed: int, cached: bool) -> Graph:
    b = build(seed)
    x = b.input("x", "int16", ("N", "T", WIDTH))
    angle = np.arange(48)[:, None] * np.array([1.0, 0.3, 0.05])
    tables = [
        b.constant(name, np.round(2**14 * f(angle)), "int16")
        for name, f in (("cosine", np.cos), ("sine", np.sin))
    ]
    extra = [position(b)] if cached else []
    return finish(b, b.node("rotary", x, *tables, *extra, heads=4, size=6, rows=48))


def append(seed: int) -> Graph:
    b = build(seed)
    cache = b.input("cache", "uint8", ("N", "L", WIDTH))
    new = b.input("new", "uint8", ("N", "T", WIDTH))
    return finish(b, b.node("append_rows", cache, new, position(b, 8)))


def positions(seed: int) -> Graph:
    b = build(seed)
    ids = b.input("ids", "int64", ("N", "T"))
    table = b.random("table", "int16", (40, WIDTH), -30_000, 30_000)
    return finish(b, b.node("positions_at", ids, table, position(b, 39), rows=40))


def embedding(seed: int) -> Graph:
    b = build(seed)
    ids = b.input("ids", "int64", ("N", "T"), (0, 49))
    weight = b.random("weight", "int8", (WIDTH, 50), -127, 127)
    factor = b.random("m", "int32", (50,), 2**20, 2**28)
    return finish(b, b.node("tied_embedding", ids, weight, factor, shift=24, dtype="int16"))


def l1(seed: int, source: str = "int16", channels: int = WIDTH) -> Graph:
    b = build(seed)
    x = b.input("x", source, ("N", "T", channels))
    gain, offset = b.factors("g", 30 / 4096, 31, channels), b.offset("o", 31, 128)
    attrs = {"channels": channels, "eps": 1000, "shift": 31, "dtype": "uint8"}
    return finish(b, b.node("l1_norm", x, gain, offset, **attrs))


PROGRAMS: dict[str, Callable[[int], Graph]] = {
    "causal": lambda seed: causal(seed, False),
    "causal cached": lambda seed: causal(seed, True),
    "causal grouped": lambda seed: causal(seed, False, 2),
    "causal grouped cached": lambda seed: causal(seed, True, 1),
    **{
        f"polynomial {kind} {power}": (
            lambda seed, kind=kind, power=power: polynomial(seed, kind, power)
        )
        for kind in ("plain", "masked", "causal", "cached")
        for power in (1, 2, 3)
    },
    "multiply bytes": lambda seed: multiply(seed, "uint8", "uint8", "uint8"),
    "multiply wide": lambda seed: multiply(seed, "int16", "int16", "int16"),
    "multiply mixed": lambda seed: multiply(seed, "uint8", "int16", "int16"),
    "rotary": lambda seed: rotary(seed, False),
    "rotary cached": lambda seed: rotary(seed, True),
    "append": append,
    "positions": positions,
    "tied embedding": embedding,
    "l1": l1,
    "l1 bytes": lambda seed: l1(seed, "int8"),
    "l1 wide": lambda seed: l1(seed, "int16", 517),
}
