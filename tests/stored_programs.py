"""Programs with operators on constants alone, and one that reads each."""

from __future__ import annotations

from intformer.ir.graph import Graph
from programs import Builder, attention_attributes


def pair_bias() -> Graph:
    build = Builder()
    q, k, v = (build.input(n, "uint8", ("N", 4, 9, 12)) for n in "qkv")
    values = build.random("values", "int16", (30, 3), -(2**15), 2**15 - 1)
    pairs = build.random("pairs", "uint8", (4, 9, 9), 0, 29)
    bias = build.node("pair_bias", values, pairs)
    attrs = attention_attributes(3, "uint8")
    build.output("y", build.node("biased_attention", q, k, v, bias, **attrs))
    return build.graph


def turned_positions() -> Graph:
    build = Builder(limits={"S": 9})
    operands = [build.random(name, "int16", (3, 8), -(2**14), 2**14) for name in ("coarse", "fine")]
    residue = build.random("residue", "uint8", (3, 3, 4), 0, 255)
    table = build.node("turned_positions", *operands, residue, rows=9, width=8)
    like = build.input("like", "int32", ("N", "S"))
    build.output("y", build.node("positions", like, table))
    return build.graph


def related_multiplier() -> Graph:
    """One matrix at both ends, with multipliers of the embedding from those of the projection."""
    build = Builder(limits={"S": 9})
    ids = build.input("ids", "int64", ("N", "S"), (0, 10))
    weight = build.random("weight", "int8", (6, 11), -128, 127)
    source = build.random("source", "int32", (11,), 2**20, 2**21)
    rest = build.random("rest", "int8", (11,), -128, 127)
    factor = build.node("related_multiplier", source, rest, factor=2**20 + 1, shift=16)
    x = build.node("tied_embedding", ids, weight, factor, shift=20, dtype="int16")
    bias = build.random("bias", "int8", (11,), -128, 127)
    acc = build.node("linear", build.norm(x, "norm"), weight, bias, x_zero=128)
    offset = build.constant("offset", [2**27], "int64")
    build.output("y", build.node("requantize", acc, source, offset, shift=28, dtype="int16"))
    return build.graph


STORED_CASES = {
    "pair-bias": pair_bias,
    "turned-positions": turned_positions,
    "related-multiplier": related_multiplier,
}
