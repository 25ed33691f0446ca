"""Attention inside windows with biases: any size, all forms of a bias, the extremes of both."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.ir.graph import Array
from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder, attention_attributes
from published_programs import WINDOW_SOFTMAXES, published_attributes

SIZES = [
    # windows, heads, channels of a query and of a value, queries, keys
    (1, 1, 1, 1, 1, 1),
    (4, 2, 3, 4, 5, 5),
    (2, 3, 32, 32, 16, 16),
    (2, 1, 64, 17, 13, 50),
    (3, 2, 16, 40, 7, 33),
    (1, 2, 80, 80, 3, 197),
]


def bytes_of(rng: np.random.Generator, *shape: int) -> Array:
    """Values of which a third are 0 or 255."""
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    edges = rng.integers(0, 6, shape)
    array[edges == 0], array[edges == 1] = 0, 255
    return array


def bias_of(rng: np.random.Generator, *shape: int) -> Array:
    """Small values, a fifth far below any score; the first query of a window sees no key, the last
    pair is as high as a bias can get."""
    bias = rng.integers(-3000, 3000, shape)
    bias[rng.random(shape) < 0.2] = -(2**29)
    bias[0, :, 0] = -(2**31)
    bias[-1, -1, -1, -1] = 2**31 - 1
    return bias.astype(np.int32)


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize(("kind", "bits"), WINDOW_SOFTMAXES)
@pytest.mark.parametrize("sizes", SIZES)
def test_attention_equals_reference(
    sizes: tuple[int, ...], kind: str, bits: int, form: int
) -> None:
    windows, heads, size, wide, queries, keys = sizes
    build = Builder(keys + form)
    shapes = {
        "q": (windows, queries, heads * size),
        "k": (windows, keys, heads * size),
        "v": (windows, keys, heads * wide),
    }
    names = [build.input(name, "uint8", ("N", *shape)) for name, shape in shapes.items()]
    forms = [(windows, heads, queries), (1, heads, queries), (windows, 1, queries), (1, 1, 1)]
    bias = build.constant("bias", bias_of(build.rng, *forms[form], keys), "int32")
    if kind == "exp2":
        op, attrs = "biased_attention", attention_attributes(heads)
    else:
        op, attrs = f"biased_{kind}_attention", published_attributes(kind, heads, bits)
    build.output("y", build.node(op, *names, bias, **attrs))
    inputs = {name: bytes_of(build.rng, 3, *shape) for name, shape in shapes.items()}
    wanted = interpret(build.graph, inputs)["y"]
    for threads in (1, 16):  # heads packed where they are used, and all before
        found = Session(build.graph, threads=threads).run(inputs)["y"]
        np.testing.assert_array_equal(found, wanted)
