"""Integer programs with the operators of other papers, built by hand for tests of every backend."""

from __future__ import annotations

import math

import numpy as np

from intformer import arith
from intformer.ir.graph import Attribute, Graph
from programs import Builder

WINDOW_SOFTMAXES = [
    ("exp2", 8),
    ("shift", 15),
    ("shift", 7),
    ("quadratic", 15),
    ("quadratic", 8),
    ("log2", 15),
]
"""Softmax and bits of its probabilities: ours and those of other papers, inside windows."""


def published_attributes(kind: str, heads: int, bits: int = 15) -> dict[str, Attribute]:
    """Plausible parameters of ``{kind}_attention``: a unit of score is 2^-9 of logit."""
    unit, shift = 24, 25
    steps = unit / 512 if kind == "shift" else 256 / math.log(2) / 512
    end = 21 * unit if kind == "shift" else arith.QUADRATIC_END
    limit = math.ceil((end + 1) / steps) + 1
    while limit * round(steps * 2**shift) + 2 ** (shift - 1) >= 2**31:
        shift -= 1
    attrs: dict[str, Attribute] = {"heads": heads, "dtype": "uint8", "q_zero": 131, "k_zero": 120}
    attrs |= {"v_zero": 127, "limit": limit, "multiplier": round(steps * 2**shift)}
    attrs |= {"exp_shift": shift, "gain": 2**23, "shift": 23 + bits}
    attrs |= {"offset": (128 << (23 + bits)) + (1 << (22 + bits))}
    attrs |= {"unit": unit} if kind == "shift" else {}
    return attrs | ({"bits": bits} if kind != "log2" else {})


def published_like(seed: int = 0, *, width: int = 24, heads: int = 2) -> Graph:
    """x int16 [N,S,width], mask uint8 [N,S] -> one output for each operator."""
    build = Builder(seed, limits={"N": 64, "S": 40})
    x = build.input("x", "int16", ("N", "S", width))
    mask = build.input("mask", "uint8", ("N", "S"), (0, 1))
    gain = build.factors("gain", math.sqrt(width) * 40 / 2**arith.NEWTON_BITS, 30, width)
    offset = build.offset("norm", 30, 128, width)
    attrs: dict[str, Attribute] = {"channels": width, "eps": 77, "shift": 30, "dtype": "uint8"}
    tokens = build.node("newton_norm", x, gain, offset, start=0, **attrs)
    build.output("fixed", build.node("newton_norm", x, gain, offset, start=16, **attrs))
    parts = [
        build.requantize(build.linear(tokens, width, part), 1 / 2000, "uint8", part, zero=128)
        for part in "qkv"
    ]
    for kind in ("shift", "quadratic", "log2"):
        attrs = published_attributes(kind, heads)
        build.output(kind, build.node(f"{kind}_attention", *parts, mask, **attrs))
    attrs = {"octaves": 23, "unit": 10, "zero": 128, "multiplier": 2**15, "shift": 22}
    attrs |= {"offset": (30 << 22) + (1 << 21), "dtype": "uint8"}
    build.output("gelu", build.node("shift_gelu", tokens, **attrs))
    return build.graph


def published_windows(seed: int = 0, *, heads: int = 3) -> Graph:
    """q, k uint8 [N,4,9,12], v uint8 [N,4,9,21] -> one output for each softmax and form of bias.

    A fifth of the pairs may not see each other.
    """
    build = Builder(seed, limits={"N": 64})
    q, k = (build.input(name, "uint8", ("N", 4, 9, 12)) for name in "qk")
    v = build.input("v", "uint8", ("N", 4, 9, 21))
    for kind in ("shift", "quadratic", "log2"):
        for shape in ((4, heads, 9, 9), (4, 1, 9, 9), (1, heads, 9, 9), (1, 1, 1, 9)):
            name = f"{kind}-{'x'.join(map(str, shape))}"
            apart = build.rng.random(shape) < 0.2
            values = np.where(apart, -(2**30), build.rng.integers(-1000, 1000, shape))
            bias = build.constant(f"{name}.bias", values, "int32")
            attrs = published_attributes(kind, heads)
            build.output(name, build.node(f"biased_{kind}_attention", q, k, v, bias, **attrs))
    return build.graph
