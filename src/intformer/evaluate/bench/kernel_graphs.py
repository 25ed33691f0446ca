"""Programs of one kernel each, with random operands, for ``intformer bench --kernels``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from intformer.ir.graph import Array, Attribute, Graph, Node, TensorType
from intformer.runtime.forms import FEW_ROWS

HEAD = 64
"""Channels of an attention head."""

WEIGHTS = ("any", "symmetric", "safe2", "safe4", "safe8")
"""Kinds of weights: in [-128, 127], in [-127, 127], and small enough for sums of 2, 4 or 8 products
in int16 (see docs/kernels.md)."""

PACKED = "packed4"
"""Weights of 4 bits with a multiplier for every ``GROUP``, which stay packed."""

GROUP = 32

SHIFT = 31
"""Of every requantization, as programs have it."""


@dataclass(frozen=True)
class Kernel:
    """One kernel call.

    Attributes:
        name: operators joined by ``+``; what follows the first is its epilogue.
        weights: kind of weights of a product, one of ``WEIGHTS`` or ``PACKED``; else empty.
        rows, depth, columns: M, K and N of a product; tokens and channels of other kernels.
        graph: the program.
        inputs: random operands.
        macs: multiply-accumulates; 0 for kernels that move data.
        bytes: read and written by kernels that move data.
    """

    name: str
    weights: str
    rows: int
    depth: int
    columns: int
    graph: Graph
    inputs: dict[str, Array]
    macs: int = 0
    bytes: int = 0


def products(rows: int, depth: int, columns: int, *, all_weights: bool) -> Iterator[Kernel]:
    """A product with each epilogue, and with each kind of weights that makes a difference."""
    kinds = [kind for kind in WEIGHTS if rows <= FEW_ROWS or kind != "symmetric"]
    for kind in (*(kinds if all_weights else WEIGHTS[:1]), PACKED):
        yield _product("requantize", kind, rows, depth, columns)
    for epilogue in ("table", "add"):
        yield _product(epilogue, WEIGHTS[0], rows, depth, columns)


def repeated(kernel: Kernel, copies: int) -> Graph:
    """The program of ``kernel`` with ``copies`` of its nodes, as a model runs many in one call."""
    graph = kernel.graph
    whole = Graph("integer", limits=dict(graph.limits))
    whole.inputs, whole.constants = dict(graph.inputs), graph.constants
    whole.types = dict(graph.types)
    for copy in range(copies):
        suffix = f"_{copy}" if copy else ""
        made = {node.output: node.output + suffix for node in graph.nodes}
        for node in graph.nodes:
            if copy and not any(name in made or name in graph.inputs for name in node.inputs):
                made[node.output] = node.output  # it makes a constant, which all copies share
                continue
            names = tuple(made.get(name, name) for name in node.inputs)
            whole.nodes.append(replace(node, inputs=names, outputs=(made[node.output],)))
            whole.types[made[node.output]] = graph.types[node.output]
        whole.outputs["out" + suffix] = made[graph.outputs["out"]]
    return whole


def others(rows: int, width: int) -> Iterator[Kernel]:
    """Attention over ``rows`` tokens of ``width`` channels, and the element-wise kernels."""
    yield _attention(rows, width)
    for name, dtype in (("layer_norm", "int16"), ("requantize", "int16"), ("table", "uint8")):
        yield _rowwise(name, dtype, rows, width)
    yield _rowwise("add", "int16", rows, width)


def random_weight(kind: str, depth: int, columns: int) -> Array:
    """int8 [depth, columns] that just satisfies the condition of its kind."""
    rng = np.random.default_rng(depth)
    share = 128 // int(kind[4:]) if kind.startswith("safe") else 127
    weight = rng.integers(-share, share + 1, (depth, columns)).astype(np.int8)
    if kind == "any":
        weight[0] = -128
    return weight


def _random(dtype: str, *shape: int) -> Array:
    span = np.iinfo(dtype)
    return np.random.default_rng(shape[-1]).integers(span.min, span.max + 1, shape, dtype)


def _graph(**inputs: TensorType) -> Graph:
    graph = Graph("integer", limits={"N": 4096})
    for name, kind in inputs.items():
        graph.inputs[name] = graph.types[name] = kind
    return graph


def _factor(graph: Graph, name: str, count: int, scale: int) -> str:
    """Multipliers that bring values up to ``scale`` into about eight bits."""
    return graph.add_constant(name, np.full(count, (1 << SHIFT) // scale, np.int32))


def _offset(graph: Graph, zero: int, count: int) -> str:
    return graph.add_constant("offset", np.full(count, (2 * zero + 1) << (SHIFT - 1)))


def _product(epilogue: str, kind: str, rows: int, depth: int, columns: int) -> Kernel:
    narrow, wide = TensorType("uint8", ("N", columns)), TensorType("int16", ("N", columns))
    graph = _graph(
        x=TensorType("uint8", ("N", depth)), **({"y": wide} if epilogue == "add" else {})
    )
    weight = _weight(graph, kind, depth, columns)
    bias = graph.add_constant("bias", np.arange(columns, dtype=np.int32))
    acc = graph.add_node(
        "linear", ("x", weight, bias), TensorType("int32", ("N", columns)), x_zero=0
    )
    typical = 147 * _mean_weight(graph) * depth**0.5
    factor = _factor(graph, "factor", columns, max(64, round(typical / 32)))
    operands: tuple[str, ...]
    if epilogue == "add":
        own = graph.add_constant("own", np.full(1, 1 << SHIFT - 12, np.int32))
        operands = (acc, "y", factor, own, _offset(graph, 0, 1))
        last = graph.add_node("add", operands, wide, shift=SHIFT, dtype="int16")
    else:
        operands = (acc, factor, _offset(graph, 128, columns))
        last = graph.add_node("requantize", operands, narrow, shift=SHIFT, dtype="uint8")
        if epilogue == "table":
            entries = graph.add_constant("entries", _random("uint8", 256))
            last = graph.add_node("table", (last, entries), narrow)
    graph.outputs["out"] = last
    name = "linear+requantize" + ("+table" if epilogue == "table" else "")
    return Kernel(
        "linear+add" if epilogue == "add" else name,
        kind,
        rows,
        depth,
        columns,
        graph,
        {n: _random(t.dtype, rows, int(t.shape[1])) for n, t in graph.inputs.items()},
        macs=rows * depth * columns,
    )


def _weight(graph: Graph, kind: str, depth: int, columns: int) -> str:
    if kind != PACKED:
        return graph.add_constant("weight", random_weight(kind, depth, columns))
    rng, groups = np.random.default_rng(depth), -(-depth // GROUP)
    halves = rng.integers(0, 256, (columns, groups, GROUP // 2), np.uint8)
    factors = rng.integers(1, 16, (columns, groups)).astype(np.int8)
    operands = graph.add_constant("packed", halves), graph.add_constant("factors", factors)
    return graph.add_node("unpack4", operands, TensorType("int8", (depth, columns)), rows=depth)


def _mean_weight(graph: Graph) -> float:
    """Mean magnitude of the weights."""
    if "weight" in graph.constants:
        return float(np.abs(graph.constants["weight"].astype(np.int16)).mean())
    return 4.0 * float(graph.constants["factors"].mean())


def _attention(rows: int, width: int) -> Kernel:
    kind = TensorType("uint8", ("N", rows, width))
    graph = _graph(q=kind, k=kind, v=kind)
    graph.outputs["out"] = graph.add_node(
        "attention",
        ("q", "k", "v"),
        kind,
        heads=max(1, width // HEAD),
        dtype="uint8",
        q_zero=131,
        k_zero=120,
        v_zero=127,
        limit=50_000,
        multiplier=30_000,
        exp_shift=19,
        gain=2**31,
        offset=(128 << 31) + (1 << 30),
        shift=31,
    )
    inputs = {name: _random("uint8", 1, rows, width + i)[..., i:] for i, name in enumerate("qkv")}
    return Kernel("attention", "", rows, width, width, graph, inputs, macs=2 * rows * rows * width)


def _rowwise(name: str, dtype: str, rows: int, width: int) -> Kernel:
    source = TensorType(dtype, ("N", width))
    out = TensorType("int16" if name == "add" else "uint8", ("N", width))
    graph = _graph(x=source, **({"y": source} if name == "add" else {}))
    operands = _rowwise_operands(graph, name, width)
    node = Node(name, operands, ("out",), _rowwise_attributes(name, out.dtype, width))
    graph.nodes.append(node)
    graph.types["out"], graph.outputs["out"] = out, "out"
    inputs = {n: _random(dtype, rows, width) for n in graph.inputs}
    sizes = [np.dtype(kind.dtype).itemsize for kind in (*graph.inputs.values(), out)]
    moved = rows * width * sum(sizes)
    return Kernel(name, "", rows, width, width, graph, inputs, bytes=moved)


def _rowwise_attributes(name: str, dtype: str, width: int) -> dict[str, Attribute]:
    if name == "table":
        return {}
    if name == "layer_norm":
        return {"channels": width, "eps": 12345, "shift": 24, "dtype": dtype}
    return {"shift": SHIFT, "dtype": dtype}


def _rowwise_operands(graph: Graph, name: str, width: int) -> tuple[str, ...]:
    if name == "table":
        return ("x", graph.add_constant("entries", _random("uint8", 256)))
    if name == "add":
        factors = [_factor(graph, f"{side}_factor", 1, 1 << 12) for side in "xy"]
        return ("x", "y", *factors, _offset(graph, 0, 1))
    if name == "layer_norm":
        gain = graph.add_constant("gain", np.full(width, 1 << 17, np.int32))
        return ("x", gain, graph.add_constant("offset", np.full(width, 257 << 23)))
    return ("x", _factor(graph, "factor", width, 1 << 12), _offset(graph, 128, width))
