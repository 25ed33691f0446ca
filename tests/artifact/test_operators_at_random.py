"""Random attributes, constants and inputs: ONNX Runtime equals the reference in both forms."""

from __future__ import annotations

import numpy as np
import onnxruntime
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from intformer import artifact
from intformer.errors import VerifyError
from intformer.ir.graph import Attribute, Graph
from intformer.ir.verify import verify
from intformer.reference import interpret
from programs import ACTIVATION, NUMBERS, Builder, attention_attributes, extremes, random_inputs
from published_programs import published_attributes

DTYPES = st.sampled_from(("uint4", "uint6", *ACTIVATION))
SEEDS = st.integers(0, 2**32 - 1)
few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def assert_same(build: Builder, op: str, *inputs: str, **attrs: Attribute) -> None:
    """Finish the graph with one node and compare; graphs that cannot be proved are left out."""
    try:
        build.output("y", build.node(op, *inputs, **attrs))
        verify(build.graph)
    except VerifyError:
        assume(False)
    compare(build.graph)


def compare(graph: Graph) -> None:
    inputs = random_inputs(graph, {"N": 3, "S": 7}, seed=1)
    wanted = interpret(graph, inputs)["y"]
    for flat in (False, True):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = artifact.to_onnx(graph, flat=flat).SerializeToString()
        (found,) = onnxruntime.InferenceSession(model, options).run(["y"], inputs)
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert (found == wanted).all()


def spread(build: Builder, name: str, dtype: str, bits: int, channels: int) -> str:
    """Constants of up to ``bits`` bits."""
    low, high = -(2**bits), 2**bits - 1
    return build.constant(name, build.rng.integers(low, high, channels, endpoint=True), dtype)


@few
@given(SEEDS, st.sampled_from(ACTIVATION), DTYPES, st.integers(1, 31), st.integers(1, 62))
def test_requantize(seed: int, source: str, dtype: str, bits: int, shift: int) -> None:
    build = Builder(seed)
    x = build.input("x", source, ("N", 6))
    factors = spread(build, "m", "int32", bits, 6)
    offset = spread(build, "o", "int64", min(shift + 8, 60), 6)
    assert_same(build, "requantize", x, factors, offset, shift=shift, dtype=dtype)


@few
@given(SEEDS, st.sampled_from(ACTIVATION), st.sampled_from(ACTIVATION), DTYPES, st.integers(1, 40))
def test_add(seed: int, left: str, right: str, dtype: str, shift: int) -> None:
    build = Builder(seed)
    a, b = build.input("a", left, ("N", 1, 6)), build.input("b", right, ("N", 4, 6))
    factors = [spread(build, name, "int32", 20, size) for name, size in (("m", 6), ("n", 1))]
    offset = spread(build, "o", "int64", min(shift + 8, 60), 1)
    assert_same(build, "add", a, b, *factors, offset, shift=shift, dtype=dtype)


@few
@given(
    SEEDS,
    st.sampled_from(("layer_norm", "rms_norm")),
    st.sampled_from(("int8", "int16")),
    DTYPES,
    st.integers(1, 300),
    st.integers(1, 2**60),
    st.integers(1, 40),
)
def test_norms(
    seed: int, op: str, source: str, dtype: str, channels: int, eps: int, shift: int
) -> None:
    build = Builder(seed)
    x = build.input("x", source, ("N", channels))
    gain = spread(build, "g", "int32", min(shift, 30), channels)
    offset = spread(build, "o", "int64", min(shift + 8, 60), channels)
    attrs: dict[str, Attribute] = {"channels": channels, "eps": eps, "shift": shift}
    assert_same(build, op, x, gain, offset, dtype=dtype, **attrs)


@few
@given(
    SEEDS,
    st.booleans(),
    DTYPES,
    st.integers(1, 4),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.integers(2304, 2800),
    st.integers(8, 16),
    st.integers(10, 38),
)
def test_attention(
    seed: int,
    masked: bool,
    dtype: str,
    heads: int,
    zeros: tuple[int, int, int],
    octaves: int,
    exp_shift: int,
    shift: int,
) -> None:
    build = Builder(seed, limits={"S": 50})
    q = build.input("q", "uint8", ("N", 3, 4 * heads))
    k, v = (build.input(n, "uint8", ("N", "S", 4 * heads)) for n in "kv")
    mask = [build.input("mask", "uint8", ("N", "S"), (0, 1))] if masked else []
    limit = int(build.rng.integers(300, 60_000))
    attrs: dict[str, Attribute] = {
        **dict(zip(("q_zero", "k_zero", "v_zero"), zeros, strict=True)),
        "limit": limit,
        "multiplier": max((octaves << exp_shift) // limit + 1, 1),
        "exp_shift": exp_shift,
        "gain": int(build.rng.integers(1, 2 ** min(shift + 2, 40))),
        "offset": int(build.rng.integers(-(2**shift), 2 ** (shift + 8))),
        "shift": shift,
    }
    assert_same(build, "attention", q, k, v, *mask, heads=heads, dtype=dtype, **attrs)


@few
@given(
    SEEDS,
    st.sampled_from(("shift", "quadratic", "log2")),
    st.booleans(),
    st.integers(1, 15),
    DTYPES,
)
def test_published_attention(seed: int, kind: str, masked: bool, bits: int, dtype: str) -> None:
    build = Builder(seed, limits={"S": 50})
    q = build.input("q", "uint8", ("N", 3, 8))
    k, v = (build.input(n, "uint8", ("N", "S", 8)) for n in "kv")
    mask = [build.input("mask", "uint8", ("N", "S"), (0, 1))] if masked else []
    attrs = published_attributes(kind, 2, bits) | {"dtype": dtype}
    attrs |= {"gain": int(build.rng.integers(2**20, 2**24))}
    assert_same(build, f"{kind}_attention", q, k, v, *mask, **attrs)


@few
@given(
    SEEDS,
    st.sampled_from(("exp2", "shift", "quadratic", "log2")),
    st.tuples(*[st.booleans()] * 3),
    st.integers(1, 15),
    DTYPES,
)
def test_attention_in_windows(
    seed: int, kind: str, whole: tuple[bool, bool, bool], bits: int, dtype: str
) -> None:
    build = Builder(seed)
    q = build.input("q", "uint8", ("N", 4, 3, 8))
    k, v = (build.input(n, "uint8", ("N", 4, 5, w)) for n, w in (("k", 8), ("v", 10)))
    shape = (*(d if w else 1 for d, w in zip((4, 2, 3), whole, strict=True)), 5)
    apart = build.rng.random(shape) < 0.2
    values = np.where(apart, -(2**31), build.rng.integers(-(2**12), 2**12, shape))
    bias = build.constant("bias", values, "int32")
    if kind == "exp2":
        op, attrs = "biased_attention", attention_attributes(2)
    else:
        op, attrs = f"biased_{kind}_attention", published_attributes(kind, 2, bits)
        attrs |= {"gain": int(build.rng.integers(2**20, 2**24))}
    assert_same(build, op, q, k, v, bias, **(attrs | {"dtype": dtype}))


@few
@given(SEEDS, st.sampled_from((0, 16)), DTYPES, st.integers(1, 300), st.integers(1, 2**40))
def test_newton_norm(seed: int, start: int, dtype: str, channels: int, eps: int) -> None:
    build = Builder(seed)
    x = build.input("x", "int16", ("N", channels))
    gain, offset = (
        spread(build, "g", "int32", 28, channels),
        spread(build, "o", "int64", 38, channels),
    )
    attrs: dict[str, Attribute] = {"channels": channels, "start": start, "eps": eps, "shift": 30}
    assert_same(build, "newton_norm", x, gain, offset, dtype=dtype, **attrs)


@few
@given(SEEDS, st.integers(1, 22), st.integers(1, 255), st.integers(0, 255), DTYPES)
def test_shift_gelu(seed: int, octaves: int, unit: int, zero: int, dtype: str) -> None:
    build = Builder(seed)
    x = build.input("x", "uint8", ("N", 9))
    attrs: dict[str, Attribute] = {"octaves": octaves, "unit": unit, "zero": zero, "shift": 27}
    attrs |= {"multiplier": int(build.rng.integers(1, 2**24)), "offset": 2**28}
    assert_same(build, "shift_gelu", x, dtype=dtype, **attrs)


@few
@given(SEEDS, st.sampled_from(("linear", "linear16")), st.integers(1, 600), st.integers(1, 9))
def test_linear(seed: int, op: str, rows: int, columns: int) -> None:
    build = Builder(seed)
    x = build.input("x", "uint8" if op == "linear" else "int16", ("N", 2, rows))
    weight = build.constant("w", extremes("int8", (rows, columns), build.rng), "int8")
    bias = spread(build, "b", "int32", 20, columns)
    zero: dict[str, Attribute] = {"x_zero": seed % 256} if op == "linear" else {}
    assert_same(build, op, x, weight, bias, **zero)


@few
@given(SEEDS, st.integers(1, 40), st.integers(1, 8), st.integers(1, 31), DTYPES)
def test_embedding(seed: int, words: int, width: int, shift: int, dtype: str) -> None:
    build = Builder(seed, limits={"S": 9})
    ids = build.input("ids", "int64", ("N", "S"), (0, words - 1))
    rows = build.constant("rows", extremes("int8", (words, width), build.rng), "int8")
    factors = spread(build, "m", "int32", 23, words)
    assert_same(build, "embedding", ids, rows, factors, shift=shift, dtype=dtype)


@few
@given(
    SEEDS,
    st.tuples(st.integers(1, 10), st.integers(1, 10)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_patches(
    seed: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    build = Builder(seed)
    x = build.input("x", "uint8", ("N", *size, 2))
    pad = build.random("pad", "uint8", (2,), 0, 255)
    attrs: dict[str, Attribute] = {"kernel": kernel, "stride": stride, "padding": padding}
    assert_same(build, "patches", x, pad, size=size, **attrs)


@few
@given(SEEDS, st.sampled_from(NUMBERS), st.permutations(range(4)), st.integers(0, 4))
def test_shapes(seed: int, dtype: str, perm: list[int], start: int) -> None:
    build = Builder(seed)
    x = build.input("x", dtype, ("N", 2, 3, 5))
    part = build.node("slice", x, axis=-1, start=start, stop=5)
    joined = build.node("concat", part, x, part, axis=3)
    turned = build.node("transpose", joined, perm=tuple(perm))
    assert_same(build, "reshape", turned, shape=(*[0] * perm.index(0), 0, -1))


def test_random_programs_are_not_trivial() -> None:
    """The strategies above reach provable graphs: one of each kind, checked directly."""
    build = Builder(3)
    x = build.input("x", "int16", ("N", 40))
    gain, offset = spread(build, "g", "int32", 20, 40), spread(build, "o", "int64", 30, 40)
    attrs: dict[str, Attribute] = {"channels": 40, "eps": 7, "shift": 22}
    build.output("y", build.node("layer_norm", x, gain, offset, dtype="int16", **attrs))
    compare(build.graph)
    assert len(np.unique(interpret(build.graph, random_inputs(build.graph, {"N": 9}))["y"])) > 50
