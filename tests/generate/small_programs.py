"""Small sequence programs, built by hand: whole forward passes to be cut."""

from __future__ import annotations

import numpy as np

from intformer.ir.graph import Graph
from programs import Builder, attention_attributes

WIDTH, HEADS, WORDS, LENGTH = 16, 2, 23, 24


def translation(seed: int = 0, *, polynomial: bool = False, words: int = WORDS) -> Graph:
    """source, source_mask, target -> logits int16 [N, T, words]; two layers on each side."""
    build = Builder(seed, limits={"N": 64, "S": LENGTH, "T": LENGTH})
    source = build.input("source", "int64", ("N", "S"), (0, words - 1))
    mask = build.input("source_mask", "uint8", ("N", "S"), (0, 1))
    target = build.input("target", "int64", ("N", "T"), (0, words - 1))
    memory = _embed(build, source, "source", words)
    for i in range(2):
        memory = _attend(build, memory, memory, mask, name=f"encoder.{i}")
    memory = build.norm(memory, "encoder.norm")
    x = _embed(build, target, "target", words)
    for i in range(2):
        x = _attend(build, x, x, name=f"decoder.{i}.self", polynomial=polynomial)
        x = _attend(build, x, memory, mask, name=f"decoder.{i}.cross", crossing=True)
    return _finish(build, x, words)


def language(seed: int = 0, *, words: int = WORDS) -> Graph:
    """ids -> logits int16 [N, T, words]; rotary positions and tied embeddings."""
    build = Builder(seed, limits={"N": 64, "T": LENGTH})
    ids = build.input("ids", "int64", ("N", "T"), (0, words - 1))
    weight = build.random("head.weight", "int8", (WIDTH, words), -128, 127)
    factor = build.random("embed.multiplier", "int32", (words,), 2**20, 2**23)
    x = build.node("tied_embedding", ids, weight, factor, name="embed", shift=16, dtype="int16")
    for i in range(2):
        x = _attend(build, x, x, name=f"layer.{i}", rotary=True)
    return _finish(build, x, words, weight)


def _embed(build: Builder, ids: str, name: str, words: int) -> str:
    rows = build.random(f"{name}.words", "int8", (words, WIDTH), -128, 127)
    factor = build.random(f"{name}.multiplier", "int32", (words,), 2**20, 2**23)
    x = build.node("embedding", ids, rows, factor, name=name, shift=16, dtype="int16")
    table = build.random(f"{name}.places", "int16", (LENGTH, WIDTH), -4000, 4000)
    return build.add(x, build.node("positions", ids, table, name=name), (1.0, 1.3), f"{name}.embed")


def _attend(
    build: Builder,
    x: str,
    other: str,
    *mask: str,
    name: str,
    crossing: bool = False,
    polynomial: bool = False,
    rotary: bool = False,
) -> str:
    """x + attention of x to ``other``, normalised first unless it comes from the encoder."""
    hidden = build.norm(x, f"{name}.norm")
    keys = other if crossing else hidden
    q, k, v = (
        _project(build, s, f"{name}.{p}") for s, p in ((hidden, "q"), (keys, "k"), (keys, "v"))
    )
    if rotary:
        q, k = (_turn(build, value, f"{name}.{p}") for value, p in ((q, "q"), (k, "k")))
    attrs = attention_attributes(HEADS)
    if crossing or mask:
        mixed = build.node("attention", q, k, v, *mask, name=name, **attrs)
    elif polynomial:
        heads = [build.random(f"{name}.{p}", "int32", (HEADS,), 0, 900) for p in ("bias", "floor")]
        attrs = {key: attrs[key] for key in attrs if key != "exp_shift"}
        attrs |= {"poly_shift": 15, "power": 2}
        mixed = build.node("causal_polynomial_attention", q, k, v, *heads, name=name, **attrs)
    else:
        mixed = build.node("causal_attention", q, k, v, name=name, kv_heads=HEADS, **attrs)
    out = build.linear(mixed, WIDTH, f"{name}.out")
    return build.add(x, out, (1.0, 1 / 900), f"{name}.add")


def _project(build: Builder, x: str, name: str) -> str:
    return build.requantize(build.linear(x, WIDTH, name), 1 / 1400, "uint8", name, zero=128)


def _turn(build: Builder, x: str, name: str) -> str:
    wide = build.requantize(x, 30.0, "int16", f"{name}.wide")
    size = WIDTH // HEADS
    angle = np.arange(LENGTH)[:, None] / 10.0 ** np.arange(size // 2)
    tables = [
        build.constant(f"{name}.{part}", np.round(curve * 2**14), "int16")
        for part, curve in (("cosine", np.cos(angle)), ("sine", np.sin(angle)))
    ]
    turned = build.node(
        "rotary", wide, *tables, name=name, heads=HEADS, size=size, rows=LENGTH
    )  # fmt: skip
    return build.requantize(turned, 2**-19, "uint8", f"{name}.turned", zero=128)


def _finish(build: Builder, x: str, words: int, *weight: str) -> Graph:
    hidden = build.norm(x, "norm")
    if weight:
        bias = build.constant("head.bias", np.zeros(words), "int32")
        acc = build.node("linear", hidden, *weight, bias, name="head", x_zero=128)
    else:
        acc = build.linear(hidden, words, "head")
    build.output("logits", build.requantize(acc, 1 / 20, "int16", "logits"))
    return build.graph
