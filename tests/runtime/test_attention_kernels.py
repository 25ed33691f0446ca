"""Attention of any head size and length, with masks that drop everything, at the extremes."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.ir.graph import Array
from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder, attention_attributes

SIZES = [
    (1, 1, 1, 1),
    (2, 3, 7, 5),
    (1, 16, 5, 64),
    (3, 32, 50, 70),
    (2, 64, 13, 197),
    (1, 80, 3, 33),
]


def operands(build: Builder, heads: int, size: int, queries: int, keys: int) -> dict[str, Array]:
    """Values of which a third are 0 or 255; in the second image all keys are alike."""
    rng, width = build.rng, heads * size
    shapes = {"q": (3, queries, width), "k": (3, keys, width), "v": (3, keys, width)}
    arrays = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}
    for array in arrays.values():
        edges = rng.integers(0, 6, array.shape)
        array[edges == 0], array[edges == 1] = 0, 255
    arrays["k"][1] = arrays["k"][1, :1]
    mask = rng.integers(0, 2, (3, keys), dtype=np.uint8)
    mask[0], mask[2] = 0, 1
    return {**arrays, "mask": mask}


@pytest.mark.parametrize("gain", [2**31, 2**40])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_attention_equals_reference(sizes: tuple[int, ...], masked: bool, gain: int) -> None:
    heads, size, queries, keys = sizes
    for shift, dtype in ((31, "uint8"), (24, "int16")):
        build = Builder(keys, {"S": 256})
        q = build.input("q", "uint8", ("N", queries, heads * size))
        k, v = (build.input(n, "uint8", ("N", "S", heads * size)) for n in "kv")
        mask = [build.input("mask", "uint8", ("N", "S"), (0, 1))] if masked else []
        attrs = attention_attributes(heads, dtype)
        attrs |= {"gain": gain, "shift": shift + (9 if gain > 2**31 else 0)}
        build.output("y", build.node("attention", q, k, v, *mask, **attrs))
        inputs = operands(build, *sizes)
        inputs = {name: inputs[name] for name in build.graph.inputs}
        expected = interpret(build.graph, inputs)["y"]
        for threads in (1, 16):  # heads packed where they are used, and all before
            actual = Session(build.graph, threads=threads).run(inputs)["y"]
            np.testing.assert_array_equal(actual, expected)
