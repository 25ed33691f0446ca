"""Attention with the softmax of other papers: any size, masks that drop everything, extremes."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.ir.graph import Array
from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder
from published_programs import published_attributes

SIZES = [(1, 1, 1, 1), (2, 3, 7, 5), (1, 16, 5, 64), (3, 32, 50, 70), (2, 64, 13, 197)]
KINDS = [("shift", 15), ("shift", 7), ("quadratic", 15), ("quadratic", 8), ("log2", 15)]


def operands(sizes: tuple[int, ...]) -> dict[str, Array]:
    """Values of which a third are 0 or 255; in the second image all keys are alike."""
    heads, size, queries, keys = sizes
    rng = np.random.default_rng(keys)
    arrays = {
        name: rng.integers(0, 256, (3, rows, heads * size), dtype=np.uint8)
        for name, rows in (("q", queries), ("k", keys), ("v", keys))
    }
    for array in arrays.values():
        edges = rng.integers(0, 6, array.shape)
        array[edges == 0], array[edges == 1] = 0, 255
    arrays["k"][1] = arrays["k"][1, :1]
    mask = rng.integers(0, 2, (3, keys), dtype=np.uint8)
    mask[0], mask[2] = 0, 1
    return {**arrays, "mask": mask}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_attention_equals_reference(
    sizes: tuple[int, ...], kind: str, bits: int, masked: bool
) -> None:
    heads, size, queries, _ = sizes
    build = Builder(0, {"S": 256})
    q = build.input("q", "uint8", ("N", queries, heads * size))
    k, v = (build.input(n, "uint8", ("N", "S", heads * size)) for n in "kv")
    mask = [build.input("mask", "uint8", ("N", "S"), (0, 1))] if masked else []
    attrs = published_attributes(kind, heads, bits)
    build.output("y", build.node(f"{kind}_attention", q, k, v, *mask, **attrs))
    inputs = {name: array for name, array in operands(sizes).items() if name in build.graph.inputs}
    actual = Session(build.graph, threads=2).run(inputs)["y"]
    wanted = interpret(build.graph, inputs)["y"]
    np.testing.assert_array_equal(actual, wanted)


def test_any_unit_divides_exactly() -> None:
    """Kernels divide by a product and a shift: every unit, at every distance that matters."""
    rng = np.random.default_rng(0)
    q, k = np.zeros((1, 1, 8), np.uint8), rng.integers(0, 256, (1, 60, 8), dtype=np.uint8)
    q[0, 0, 0] = 1
    k[0, :, 0] = np.linspace(0, 255, 60)
    for unit in range(1, 1025, 13):
        build = Builder(0)
        names = [build.input(n, "uint8", ("N", 1 if n == "q" else 60, 8)) for n in "qkv"]
        attrs = published_attributes("shift", 1) | {"q_zero": 0, "k_zero": 0, "unit": unit}
        attrs |= {"limit": 255, "multiplier": 1 + 21 * unit * 64 // 255, "exp_shift": 6}
        build.output("y", build.node("shift_attention", *names, **attrs))
        inputs = {"q": q, "k": k, "v": k[:, ::-1].copy()}
        actual = Session(build.graph, threads=1).run(inputs)["y"]
        np.testing.assert_array_equal(actual, interpret(build.graph, inputs)["y"])


@pytest.mark.parametrize("start", [0, 16])
@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 16, 17, 33, 100, 384, 1000, 8192])
def test_newton_norm_equals_reference(channels: int, start: int) -> None:
    build = Builder(channels)
    gain = build.factors("gain", 40 * channels**0.5 / 2**20, 28, channels)
    offset = build.offset("offset", 28, 128, channels)
    x = build.input("x", "int16", ("N", channels))
    attrs = {"channels": channels, "start": start, "eps": 9, "shift": 28, "dtype": "uint8"}
    build.output("y", build.node("newton_norm", x, gain, offset, **attrs))
    rng = np.random.default_rng(channels)
    rows = [np.full(channels, value) for value in (-32768, 32767, 0, -1)]
    rows.append(np.where(np.arange(channels) % 2, 32767, -32768))
    rows += [rng.normal(5, s, channels).clip(-32768, 32767) for s in (1, 3, 50, 1000, 20000)]
    inputs = {"x": np.array(rows).astype(np.int16)}
    actual = Session(build.graph, threads=1).run(inputs)["y"]
    np.testing.assert_array_equal(actual, interpret(build.graph, inputs)["y"])


@pytest.mark.parametrize("channels", [1, 7, 8, 17, 33, 384, 1000])
def test_norm_of_power_of_two_channels_equals_reference(channels: int) -> None:
    """FQ-ViT's normalisation as lowering writes it: down to 8 bits, up by a power, the norm."""
    build = Builder(channels)
    powers = (2 ** build.rng.integers(0, 4, channels)).astype(np.int64)
    x = build.input("x", "int16", ("N", channels))
    down = build.constant("down", np.round(2**22 / 32 / powers), "int32")
    middle = build.constant("middle", np.full(channels, (128 << 22) + (1 << 21)), "int64")
    narrow = build.node("requantize", x, down, middle, shift=22, dtype="uint8")
    up = build.constant("up", 2 * powers, "int32")
    below = build.constant("below", -2 * 128 * powers, "int64")
    raised = build.node("requantize", narrow, up, below, shift=1, dtype="int16")
    build.output("y", build.norm(raised, "norm"))
    rng = np.random.default_rng(channels)
    rows = [np.full(channels, value) for value in (-32768, 32767, 0, -1)]
    rows.append(np.where(np.arange(channels) % 2, 32767, -32768))
    rows += [rng.normal(5, s, channels).clip(-32768, 32767) for s in (1, 50, 1000, 20000)]
    inputs = {"x": np.array(rows).astype(np.int16)}
    actual = Session(build.graph, threads=1).run(inputs)["y"]
    np.testing.assert_array_equal(actual, interpret(build.graph, inputs)["y"])
