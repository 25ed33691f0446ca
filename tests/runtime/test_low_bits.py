"""Results of 4 and 6 bits, and normalisation of int8, at the extremes."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder, attention_attributes, random_inputs


def assert_same(build: Builder, value: str) -> None:
    build.output("y", value)
    for seed, count in enumerate((1, 5)):
        inputs = random_inputs(build.graph, {"N": count}, seed)
        actual = Session(build.graph, threads=2).run(inputs)["y"]
        expected = interpret(build.graph, inputs)["y"]
        assert np.unique(expected).size > 3
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("dtype", ["uint4", "uint6"])
@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_requantize(dtype: str, table: bool, fused: bool) -> None:
    build = Builder(3)
    x = build.input("x", "uint8" if fused else "int16", ("N", 37))
    x = build.linear(x, 19, "fc") if fused else x
    x = build.requantize(x, 1 / 20_000 if fused else 1 / 300, dtype, "q", zero=5)
    if table:
        entries = build.random("entries", "int8", (64,), -128, 127)
        x = build.node("table", x, entries)
    assert_same(build, x)


@pytest.mark.parametrize("dtype", ["uint4", "uint6"])
def test_norm_add_and_attention(dtype: str) -> None:
    build = Builder(4)
    x = build.input("x", "int16", ("N", 6, 24))
    factor = build.constant("f", [2**20], "int32")
    offset = build.constant("o", [8 << 20], "int64")
    attrs = {"channels": 24, "eps": 7, "shift": 20, "dtype": dtype}
    parts = [build.node("layer_norm", x, factor, offset, **attrs)]
    fine = build.constant("g", [2**6], "int32")
    parts.append(build.node("add", x, x, fine, fine, offset, shift=20, dtype=dtype))
    heads = attention_attributes(3, dtype)
    parts.append(build.node("attention", *parts, parts[0], **heads))
    assert_same(build, build.node("concat", *parts, axis=-1))


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("channels", [5, 64])
def test_norm_of_int8(op: str, channels: int) -> None:
    build = Builder(5)
    assert_same(build, build.norm(build.input("x", "int8", ("N", 3, channels)), "norm", op))
