"""Attention of few queries for any head size, number of keys and zero points."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder, attention_attributes
from sequence_programs import softmax

SIZES = [4, 16, 24, 32, 48, 64, 80, 96, 128, 160]
LENGTHS = [1, 3, 4, 7, 15, 16, 17, 33]


def edged(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes of which a third are 0 or 255."""
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    edges = rng.integers(0, 6, shape)
    array[edges == 0], array[edges == 1] = 0, 255
    return array


@pytest.mark.parametrize("zeros", [(0, 0, 0), (1, 255, 128), (255, 3, 255), (131, 120, 7)])
@pytest.mark.parametrize("size", SIZES)
def test_cached_attention_equals_reference(size: int, zeros: tuple[int, int, int]) -> None:
    """Rows that stand at different places; three heads of queries share one of keys."""
    build = Builder(size, {"N": 16, "L": 64})
    q = build.input("q", "uint8", ("N", 2, 3 * size))
    k, v = (build.input(name, "uint8", ("N", "L", size)) for name in "kv")
    position = build.input("position", "int64", ("N",), (0, 62))
    attributes = {**softmax(build), "heads": 3, "kv_heads": 1, "dtype": "uint8"}
    attributes |= dict(zip(("q_zero", "k_zero", "v_zero"), zeros, strict=True))
    node = build.node("causal_attention", q, k, v, position, **attributes)
    build.output("y", node)
    rng, rows = np.random.default_rng(size), len(LENGTHS)
    inputs = {"q": edged(rng, (rows, 2, 3 * size)), "position": np.array(LENGTHS) - 1}
    inputs |= {name: edged(rng, (rows, 36, size)) for name in "kv"}
    found = Session(build.graph, threads=2).run(inputs)["y"]
    np.testing.assert_array_equal(found, interpret(build.graph, inputs)["y"])


@pytest.mark.parametrize("size", SIZES)
def test_masked_attention_of_one_query_equals_reference(size: int) -> None:
    """Among the masks one drops every key, and one none."""
    build = Builder(size, {"N": 16, "S": 64})
    q = build.input("q", "uint8", ("N", 1, 2 * size))
    k, v = (build.input(name, "uint8", ("N", "S", 2 * size)) for name in "kv")
    mask = build.input("mask", "uint8", ("N", "S"), (0, 1))
    build.output("y", build.node("attention", q, k, v, mask, **attention_attributes(2, "int16")))
    rng, session = np.random.default_rng(size), Session(build.graph, threads=2)
    for keys in LENGTHS:
        inputs = {"q": edged(rng, (3, 1, 2 * size))}
        inputs |= {name: edged(rng, (3, keys, 2 * size)) for name in "kv"}
        inputs["mask"] = rng.integers(0, 2, (3, keys), dtype=np.uint8)
        inputs["mask"][0], inputs["mask"][2] = 0, 1
        found = session.run(inputs)["y"]
        np.testing.assert_array_equal(found, interpret(build.graph, inputs)["y"])


@pytest.mark.parametrize("words", [3, 8, 17, 100])
@pytest.mark.parametrize("width", [4, 18, 64])
def test_tied_embedding_of_a_packed_weight_equals_reference(width: int, words: int) -> None:
    build = Builder(width, {"N": 64})
    ids = build.input("ids", "int64", ("N", 5), (0, words - 1))
    weight = build.random("weight", "int8", (width, words), -127, 127)
    factor = build.random("factor", "int32", (words,), 2**20, 2**23)
    bias = build.constant("bias", np.zeros(words), "int32")
    x = build.node("tied_embedding", ids, weight, factor, shift=16, dtype="int16")
    hidden = build.norm(x, "norm")
    build.output("x", x)
    build.output("y", build.node("linear", hidden, weight, bias, x_zero=128))
    inputs = {"ids": np.random.default_rng(0).integers(0, words, (9, 5))}
    found, wanted = Session(build.graph, threads=2).run(inputs), interpret(build.graph, inputs)
    for name in ("x", "y"):
        np.testing.assert_array_equal(found[name], wanted[name])
