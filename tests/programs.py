"""Small but complete integer programs, built by hand for tests of every backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from intformer import arith
from intformer.ir.graph import INTEGER_RANGES, Array, Attribute, Graph, Node, TensorType
from intformer.ir.interval import Interval, IntervalPrimitives
from intformer.ir.operators import evaluate

NUMBERS = ("uint8", "int8", "int16", "int32", "int64")
ACTIVATION = ("uint8", "int8", "int16", "int32")


class Builder:
    """Builds an integer graph: infers types and ranges of results, takes scales as ratios."""

    def __init__(self, seed: int = 0, limits: Mapping[str, int] | None = None) -> None:
        self.graph = Graph("integer", limits=dict(limits or {}))
        self.rng = np.random.default_rng(seed)
        self._values: dict[str, Interval] = {}

    def input(
        self,
        name: str,
        dtype: str,
        shape: tuple[int | str, ...],
        bounds: tuple[int, int] | None = None,
    ) -> str:
        self.graph.inputs[name] = self.graph.types[name] = TensorType(dtype, shape)
        if bounds is not None:
            self.graph.input_ranges[name] = bounds
        self._values[name] = Interval(dtype, shape, *(bounds or INTEGER_RANGES[dtype]))
        return name

    def constant(self, name: str, content: Any, dtype: str) -> str:
        array = np.asarray(content, dtype)
        name = self.graph.add_constant(name, array)
        self._values[name] = Interval.constant(array)
        return name

    def random(self, name: str, dtype: str, shape: tuple[int, ...], low: int, high: int) -> str:
        return self.constant(name, self.rng.integers(low, high + 1, shape), dtype)

    def node(self, op: str, *inputs: str, name: str = "", **attrs: Attribute) -> str:
        """Append a node and infer its type."""
        trial = Node(op, inputs, ("trial",), dict(attrs))
        xp = IntervalPrimitives(self.graph.limits)
        result = evaluate(xp, trial, [self._values[n] for n in inputs])
        kind = TensorType(result.dtype, result.shape)
        output = self.graph.add_node(op, inputs, kind, name=name, **attrs)
        self._values[output] = result
        return output

    def output(self, name: str, value: str) -> None:
        self.graph.outputs[name] = value

    def linear(self, x: str, outputs: int, name: str, zero: int = 121) -> str:
        """A linear layer with random weights that use all of int8."""
        rows = self.graph.types[x].shape[-1]
        assert isinstance(rows, int)
        weight = self.random(f"{name}.weight", "int8", (rows, outputs), -128, 127)
        bias = self.random(f"{name}.bias", "int32", (outputs,), -40_000, 40_000)
        if self.graph.types[x].dtype == "int16":
            return self.node("linear16", x, weight, bias, name=name)
        return self.node("linear", x, weight, bias, name=name, x_zero=zero)

    def packed_linear(
        self, x: str, outputs: int, name: str, group: int = 32, op: str = "linear"
    ) -> str:
        """A linear layer with random weights of 4 bits: both signs of multipliers, all levels."""
        rows = self.graph.types[x].shape[-1]
        assert isinstance(rows, int)
        groups = -(-rows // group)
        packed = self.random(f"{name}.packed", "uint8", (outputs, groups, group // 2), 0, 255)
        factors = self.random(f"{name}.factors", "int8", (outputs, groups), -15, 15)
        weight = self.node("unpack4", packed, factors, name=name, rows=rows)
        bias = self.random(f"{name}.bias", "int32", (outputs,), -40_000, 40_000)
        zero: dict[str, Attribute] = {"x_zero": 135} if op == "linear" else {}
        return self.node(op, x, weight, bias, name=name, **zero)

    def factors(self, name: str, ratio: float, shift: int, channels: int) -> str:
        """Per-channel multipliers around ratio·2^shift."""
        spread = self.rng.uniform(0.8, 1.2, channels)
        return self.constant(f"{name}.multiplier", np.round(ratio * spread * 2**shift), "int32")

    def offset(self, name: str, shift: int, zero: int, channels: int = 1) -> str:
        content = np.full(channels, (zero << shift) + (1 << (shift - 1)))
        return self.constant(f"{name}.offset", content, "int64")

    def requantize(
        self, x: str, ratio: float, dtype: str, name: str, zero: int = 0, bits: int = 16
    ) -> str:
        """Multipliers of about ``bits`` bits."""
        channels = self.graph.types[x].shape[-1]
        assert isinstance(channels, int)
        shift = bits - round(math.log2(ratio))
        multiplier = self.factors(name, ratio, shift, channels)
        offset = self.offset(name, shift, zero, channels)
        return self.node("requantize", x, multiplier, offset, name=name, shift=shift, dtype=dtype)

    def add(self, a: str, b: str, ratios: tuple[float, float], name: str, shift: int = 18) -> str:
        """Residual addition into an int16 stream."""
        factors = [
            self.constant(f"{name}.{side}_multiplier", [round(ratio * 2**shift)], "int32")
            for side, ratio in zip("ab", ratios, strict=True)
        ]
        offset = self.offset(name, shift, 0)
        return self.node("add", a, b, *factors, offset, name=name, shift=shift, dtype="int16")

    def norm(self, x: str, name: str, op: str = "layer_norm", zero: int = 128) -> str:
        """A normalisation whose uint8 output has about ±4 deviations."""
        channels = self.graph.types[x].shape[-1]
        assert isinstance(channels, int)
        shift = 24
        gain = self.factors(name, 32 / 2**arith.NORM_BITS, shift, channels)
        offset = self.offset(name, shift, zero, channels)
        attrs: dict[str, Attribute] = {"channels": channels, "eps": 12345, "shift": shift}
        return self.node(op, x, gain, offset, name=name, dtype="uint8", **attrs)

    def attention(self, q: str, k: str, v: str, *mask: str, heads: int, name: str) -> str:
        attrs = attention_attributes(heads)
        return self.node("attention", q, k, v, *mask, name=name, **attrs)

    def gelu(self, x: str, name: str) -> str:
        grid = (np.arange(256) - 100) / 32
        tanh = np.tanh(0.7978845608 * (grid + 0.044715 * grid**3))
        curve = np.round(0.5 * grid * (1 + tanh) * 48) + 8
        return self.node("table", x, self.constant(f"{name}.entries", curve.clip(0, 255), "uint8"))


def attention_attributes(heads: int, dtype: str = "uint8") -> dict[str, Attribute]:
    """Plausible zero points and scales of an attention."""
    return {
        "heads": heads,
        "dtype": dtype,
        "q_zero": 131,
        "k_zero": 120,
        "v_zero": 127,
        "limit": 50_000,
        "multiplier": 30_000,
        "exp_shift": 19,
        "gain": 2**31,
        "offset": (128 << 31) + (1 << 30),
        "shift": 31,
    }


def block(build: Builder, x: str, *mask: str, heads: int, norm: str, name: str) -> str:
    """One Transformer block on an int16 stream."""
    width = build.graph.types[x].shape[-1]
    assert isinstance(width, int)
    hidden = build.norm(x, f"{name}.norm1", norm)
    scale = 1 / (90 * width)
    parts = []
    for part in "qkv":
        acc = build.linear(hidden, width, f"{name}.{part}")
        parts.append(build.requantize(acc, scale, "uint8", f"{name}.{part}", zero=128))
    mixed = build.attention(*parts, *mask, heads=heads, name=f"{name}.attn")
    projected = build.linear(mixed, width, f"{name}.proj")
    x = build.add(x, projected, (1.0, 10 * scale), f"{name}.add1")
    hidden = build.linear(build.norm(x, f"{name}.norm2", norm), 2 * width, f"{name}.fc1")
    hidden = build.requantize(hidden, scale, "uint8", f"{name}.fc1", zero=100)
    hidden = build.linear(build.gelu(hidden, f"{name}.gelu"), width, f"{name}.fc2")
    return build.add(x, hidden, (1.0, 10 * scale), f"{name}.add2")


def vit_like(seed: int = 0, *, width: int = 32, heads: int = 2, classes: int = 7) -> Graph:
    """pixels uint8 [N,12,12,3] -> pooled int16 [N,1,width], logits int32 [N,classes], label."""
    build = Builder(seed, limits={"N": 1024})
    pixels = build.input("pixels", "uint8", ("N", 12, 12, 3))
    pad = build.constant("stem.pad", [124, 116, 104], "uint8")
    attrs: dict[str, Attribute] = {"size": (12, 12), "kernel": (4, 4), "stride": (4, 4)}
    windows = build.node("patches", pixels, pad, name="stem", padding=(0, 0), **attrs)
    tokens = build.linear(build.node("reshape", windows, shape=(0, 9, 48)), width, "stem")
    tokens = build.requantize(tokens, 1 / 50, "int16", "stem")
    first = build.random("class_token", "int16", (1, 1, width), -2000, 2000)
    first = build.node("repeat_batch", first, pixels)
    tokens = build.node("concat", first, tokens, axis=1)
    places = build.random("places", "int16", (1, 10, width), -3000, 3000)
    tokens = build.add(tokens, places, (1.0, 0.7), "embed")
    tokens = block(build, tokens, heads=heads, norm="layer_norm", name="blocks.0")
    wide = build.requantize(build.linear(tokens, width, "wide"), 1 / 9000, "int16", "wide")
    pooled = build.node("sum", build.node("transpose", wide, perm=(0, 2, 1)), axis=-1)
    pooled = build.node("transpose", pooled, perm=(0, 2, 1))
    build.output("pooled", build.requantize(pooled, 1 / 10, "int16", "pool"))
    token = build.node("slice", tokens, axis=1, start=0, stop=1)
    token = build.norm(build.node("reshape", token, shape=(0, width)), "norm")
    logits = build.packed_linear(token, classes, "head")
    build.output("logits", logits)
    build.output("label", build.node("argmax", logits, axis=-1))
    return build.graph


def bert_like(
    seed: int = 0, *, width: int = 24, heads: int = 3, words: int = 50, length: int = 20
) -> Graph:
    """ids int64 [N,S], mask uint8 [N,S] -> states int16 [N,S,width], pooled int32 [N,1,width]."""
    build = Builder(seed, limits={"N": 256, "S": length})
    ids = build.input("ids", "int64", ("N", "S"), (0, words - 1))
    mask = build.input("mask", "uint8", ("N", "S"), (0, 1))
    rows = build.random("words", "int8", (words, width), -128, 127)
    factor = build.random("words.multiplier", "int32", (words,), 2**20, 2**23)
    x = build.node("embedding", ids, rows, factor, name="words", shift=16, dtype="int16")
    table = build.random("places", "int16", (length, width), -4000, 4000)
    x = build.add(x, build.node("positions", ids, table, name="places"), (1.0, 1.3), "embed")
    x = block(build, x, mask, heads=heads, norm="layer_norm", name="layer.0")
    x = block(build, x, mask, heads=heads, norm="rms_norm", name="layer.1")
    build.output("states", x)
    build.output("pooled", build.node("sum", x, axis=1))
    return build.graph


def extremes(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random values of the whole dtype, its extremes and the numbers around zero among them."""
    low, high = INTEGER_RANGES[dtype]
    array = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    edges = np.array([low, high, 0, 1, high - 1, low + 1, high // 2], dtype)
    flat = array.reshape(-1)
    count = min(len(edges), flat.size)
    flat[:count] = edges[:count]
    return array


def random_inputs(graph: Graph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """Random inputs within the declared ranges, for the given sizes of symbols."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, kind in graph.inputs.items():
        shape = tuple(d if isinstance(d, int) else sizes[d] for d in kind.shape)
        if name in graph.input_ranges:
            low, high = graph.input_ranges[name]
            arrays[name] = rng.integers(low, high, shape, dtype=kind.dtype, endpoint=True)
        else:
            arrays[name] = extremes(kind.dtype, shape, rng)
    return arrays


Case = Callable[[], Graph]


def single_operator_cases() -> dict[str, Case]:
    """Graphs of one operator over the whole range of their inputs, by name."""
    from stored_programs import STORED_CASES

    return dict(_cases()) | STORED_CASES


def _cases() -> Iterator[tuple[str, Case]]:
    for dtype in ACTIVATION:
        for result in ACTIVATION:
            yield f"requantize-{dtype}-{result}", lambda d=dtype, r=result: _requantize(d, r)
        yield f"add-{dtype}", lambda d=dtype: _add(d)
        for axis in (0, 1, -1):
            yield f"argmax{axis}-{dtype}", lambda d=dtype, a=axis: _unary("argmax", d, axis=a)
    for dtype in ("uint8", "int8", "int16"):
        for axis in (1, -1):
            yield f"sum{axis}-{dtype}", lambda d=dtype, a=axis: _unary("sum", d, axis=a)
        yield f"table-{dtype}", lambda d=dtype: _table(d)
    yield "sum-int32", _sum32
    for dtype in NUMBERS:
        yield f"reshape-{dtype}", lambda d=dtype: _unary("reshape", d, shape=(0, -1, 2))
        yield f"transpose-{dtype}", lambda d=dtype: _unary("transpose", d, perm=(2, 0, 1))
        yield f"slice-{dtype}", lambda d=dtype: _unary("slice", d, axis=-1, start=1, stop=5)
        yield f"concat-{dtype}", lambda d=dtype: _concat(d)
        yield f"repeat_batch-{dtype}", lambda d=dtype: _repeat(d)
    for dtype in ("int16", "int8"):
        yield f"positions-{dtype}", lambda d=dtype: _positions(d)
    for dtype in ("int64", "int32"):
        yield f"embedding-{dtype}", lambda d=dtype: _embedding(d)
    for rows in (1, 64, 2000):
        yield f"linear-{rows}", lambda r=rows: _linear("uint8", r)
        yield f"linear16-{rows}", lambda r=rows: _linear("int16", min(r, 500))
    for rows, group in ((1, 2), (64, 32), (75, 64), (130, 8)):
        yield f"packed-{rows}-{group}", lambda r=rows, g=group: _packed(r, g)
    yield "packed16", lambda: _packed(40, 32, "int16")
    for op in ("layer_norm", "rms_norm", "layer_norm20", "rms_norm20"):
        for channels in (1, 2, 33, 192):
            yield f"{op}-{channels}", lambda o=op, c=channels: _norm(o, c)
    for dtype in ACTIVATION:
        yield f"attention-{dtype}", lambda d=dtype: _attention(d, masked=False)
        yield f"attention-masked-{dtype}", lambda d=dtype: _attention(d, masked=True)
        yield f"biased-attention-{dtype}", lambda d=dtype: _biased_attention(d)
        yield f"softmax-{dtype}", lambda d=dtype: _softmax(d)
    for dtype in ("uint8", "int8", "int16"):
        yield f"max-{dtype}", lambda d=dtype: _maximum(d)
    yield "matmul", _matmul
    yield "depthwise", _depthwise
    for kernel, stride, padding in (
        ((1, 1), (1, 1), (0, 0)),
        ((3, 3), (1, 1), (1, 1)),
        ((3, 2), (2, 3), (0, 1)),
        ((5, 7), (5, 7), (0, 0)),
    ):
        name = f"patches-{kernel}-{stride}-{padding}"
        yield name, lambda k=kernel, s=stride, p=padding: _patches(k, s, p)


def _finish(build: Builder, value: str) -> Graph:
    build.output("y", value)
    return build.graph


def _unary(op: str, dtype: str, **attrs: Attribute) -> Graph:
    build = Builder(limits={"N": 64})
    shape = (5, 4, 6) if attrs.get("axis") == 0 else ("N", 4, 6)
    return _finish(build, build.node(op, build.input("x", dtype, shape), **attrs))


def _sum32() -> Graph:
    build = Builder(limits={"N": 64})
    limit = (2**31 - 1) // 6
    return _finish(
        build, build.node("sum", build.input("x", "int32", ("N", 6), (-limit, limit)), axis=1)
    )


def _requantize(dtype: str, result: str) -> Graph:
    """Products up to 2^62 and scales from one bit to all of int32."""
    build = Builder()
    x = build.input("x", dtype, ("N", 5))
    reach = (2**62 - 2**41) // max(INTEGER_RANGES[dtype][1] + 1, 2**31)
    factors = [reach - 1, 1 - reach, 3, -1, 0]
    shift = 1 if result != "int32" else 32
    if result == "int32":
        factors = [2**30, -(2**30), 3, -1, 0]
    multiplier = build.constant("multiplier", factors, "int32")
    offset = build.constant("offset", [0, 1, 2**39, -(2**39), 2**40], "int64")
    if dtype == "int32" and result != "int32":
        return _narrow(build, x, result)
    if result != "int32":
        small = build.constant("small", [2**15, -(2**15), 3, -1, 0], "int32")
        shift, multiplier = 18, small
    return _finish(
        build, build.node("requantize", x, multiplier, offset, shift=shift, dtype=result)
    )


def _narrow(build: Builder, x: str, result: str) -> Graph:
    """int32 accumulators into a narrow type, both saturating and not."""
    multiplier = build.constant("narrow", [2**31 - 2**12, -(2**31) + 2**12, 2**23, -7, 0], "int32")
    offset = build.constant("narrow.offset", [2**39, -(2**39), 2**45, 5, -1], "int64")
    return _finish(build, build.node("requantize", x, multiplier, offset, shift=40, dtype=result))


def _add(dtype: str) -> Graph:
    build = Builder()
    a = build.input("a", dtype, ("N", 5))
    b = build.input("b", "int16", ("N", 5))
    left = build.constant("left", [2**20, -(2**20), 1, 0, 12345], "int32")
    right = build.constant("right", [2**28], "int32")
    offset = build.constant("offset", [2**19, 0, 1, -1, 2**40], "int64")
    return _finish(build, build.node("add", a, b, left, right, offset, shift=22, dtype="int16"))


def _table(dtype: str) -> Graph:
    build = Builder()
    entries = build.constant("entries", extremes(dtype, (256,), build.rng), dtype)
    return _finish(build, build.node("table", build.input("x", "uint8", ("N", 4, 64)), entries))


def _concat(dtype: str) -> Graph:
    build = Builder()
    parts = [build.input(f"x{i}", dtype, ("N", 3, i + 1)) for i in range(3)]
    return _finish(build, build.node("concat", *parts, axis=-1))


def _repeat(dtype: str) -> Graph:
    build = Builder()
    row = build.constant("row", extremes(dtype, (1, 2, 5), build.rng), dtype)
    like = build.input("like", "uint8", ("N", 2))
    return _finish(build, build.node("repeat_batch", row, like))


def _positions(dtype: str) -> Graph:
    build = Builder(limits={"S": 9})
    table = build.constant("table", extremes(dtype, (9, 5), build.rng), dtype)
    return _finish(build, build.node("positions", build.input("like", "int32", ("N", "S")), table))


def _embedding(dtype: str) -> Graph:
    build = Builder(limits={"S": 9})
    rows = build.constant("rows", extremes("int8", (11, 6), build.rng), "int8")
    factor = build.constant("factor", extremes("int32", (11,), build.rng), "int32")
    ids = build.input("ids", dtype, ("N", "S"), (0, 10))
    return _finish(build, build.node("embedding", ids, rows, factor, shift=20, dtype="int16"))


def _linear(dtype: str, rows: int) -> Graph:
    """Full-range weights, the first column such that the sum is as large as it can get."""
    build = Builder()
    weight = extremes("int8", (rows, 6), build.rng)
    weight[:, 0] = -128
    name = build.constant("weight", weight, "int8")
    bias = build.constant("bias", [-1000, 0, 1, 7, 2**20, -(2**20)], "int32")
    x = build.input("x", dtype, ("N", 3, rows))
    if dtype == "int16":
        return _finish(build, build.node("linear16", x, name, bias))
    return _finish(build, build.node("linear", x, name, bias, x_zero=rows % 3))


def _packed(rows: int, group: int, dtype: str = "uint8") -> Graph:
    build = Builder()
    op = "linear" if dtype == "uint8" else "linear16"
    x = build.input("x", dtype, ("N", 3, rows))
    return _finish(build, build.packed_linear(x, 6, "fc", group, op))


def _norm(op: str, channels: int) -> Graph:
    build, shape = Builder(), ("N", 4, channels)
    if op.endswith("20"):
        x = build.input("x", "int32", shape, (-(2**19), 2**19 - 1))
    else:
        x = build.input("x", "int16", shape)
    return _finish(build, build.norm(x, "norm", op))


def _attention(dtype: str, *, masked: bool) -> Graph:
    build = Builder(limits={"S": 40})
    q = build.input("q", "uint8", ("N", 5, 12))
    k, v = (build.input(n, "uint8", ("N", "S", 12)) for n in "kv")
    mask = [build.input("mask", "uint8", ("N", "S"), (0, 1))] if masked else []
    attrs = attention_attributes(3, dtype)
    return _finish(build, build.node("attention", q, k, v, *mask, **attrs))


def _biased_attention(dtype: str) -> Graph:
    """Windows, and values wider than queries; a fifth of the pairs may not see each other."""
    build = Builder()
    q, k = (build.input(n, "uint8", ("N", 4, 9, 12)) for n in "qk")
    v = build.input("v", "uint8", ("N", 4, 9, 21))
    bias = np.where(build.rng.random((4, 3, 9, 9)) < 0.2, -(2**30), 0)
    bias += build.rng.integers(-(2**15), 2**15, bias.shape)
    attrs = attention_attributes(3, dtype)
    value = build.constant("bias", bias, "int32")
    return _finish(build, build.node("biased_attention", q, k, v, value, **attrs))


def _softmax(dtype: str) -> Graph:
    build = Builder()
    unwanted = ("heads", "q_zero", "k_zero", "v_zero")
    attrs = {k: v for k, v in attention_attributes(1, dtype).items() if k not in unwanted}
    return _finish(build, build.node("softmax", build.input("x", "int16", ("N", 4, 33)), **attrs))


def _maximum(dtype: str) -> Graph:
    build = Builder()
    x = build.input("x", dtype, ("N", 4, 6))
    return _finish(build, build.node("max", x, axis=1, dtype=dtype))


def _matmul() -> Graph:
    build = Builder()
    a, b = build.input("a", "uint8", ("N", 3, 4, 9)), build.input("b", "uint8", ("N", 3, 9, 5))
    return _finish(build, build.node("matmul", a, b, a_zero=3, b_zero=200))


def _depthwise() -> Graph:
    build = Builder()
    x = build.input("x", "uint8", ("N", 9, 8, 5))
    pad = build.constant("pad", [0, 7, 128, 200, 255], "uint8")
    weight = build.constant("weight", extremes("int8", (9, 5), build.rng), "int8")
    bias = build.random("bias", "int32", (5,), -(2**20), 2**20)
    attrs: dict[str, Attribute] = {"size": (9, 8), "kernel": (3, 3), "stride": (2, 1)}
    return _finish(build, build.node("depthwise", x, pad, weight, bias, padding=(1, 1), **attrs))


def _patches(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Graph:
    build = Builder()
    x = build.input("x", "uint8", ("N", 9, 8, 2))
    pad = build.constant("pad", [7, 255], "uint8")
    attrs: dict[str, Attribute] = {"kernel": kernel, "stride": stride, "padding": padding}
    return _finish(build, build.node("patches", x, pad, size=(9, 8), **attrs))
