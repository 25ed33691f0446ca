"""Dimensions that mix the batch with windows or patches, such as ``64*N``, become two: N and 64.

Window attention is usually written on [N·windows, tokens, channels]. A program's dimensions are
numbers or symbols, not products, so every value gets its axes apart: in memory nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from intformer.errors import CaptureError
from intformer.frontend.build import Builder
from intformer.frontend.shapes import fixed, product
from intformer.ir.graph import Dim, Graph, Node, Shape


def split_batch(graph: Graph) -> Graph:
    """Rewrite ``graph`` in place so that no dimension is a multiple of the batch.

    Raises:
        CaptureError: an operator mixes such a dimension with others.
    """
    if not any(_is_split(dim) for kind in graph.types.values() for dim in kind.shape):
        return graph
    old_types, nodes, outputs = dict(graph.types), graph.nodes, graph.outputs
    kept = {name: graph.types[name] for name in (*graph.inputs, *graph.constants)}
    graph.nodes, graph.types = [], kept
    splitter = _Splitter(Builder(graph), {name: kind.shape for name, kind in old_types.items()})
    for node in nodes:
        splitter.add(node)
    graph.outputs = {public: splitter.names.get(x, x) for public, x in outputs.items()}
    return graph


def _is_split(dim: Dim) -> bool:
    return isinstance(dim, str) and _factors(dim) is not None


def _factors(dim: str) -> tuple[str, int] | None:
    """Symbol and number of a dimension like ``64*N``."""
    number, mark, symbol = dim.partition("*")
    return (symbol, int(number)) if mark and number.isdigit() and symbol == "N" else None


def _apart(shape: Shape) -> Shape:
    """``(64*N, 49)`` as ``(N, 64, 49)``."""
    dims: list[Dim] = []
    for dim in shape:
        factors = _factors(dim) if isinstance(dim, str) else None
        dims += factors or (dim,)
    return tuple(dims)


def _places(shape: Shape) -> list[list[int]]:
    """For each axis of ``shape`` the axes it has in ``_apart(shape)``."""
    places: list[list[int]] = []
    start = 0
    for dim in shape:
        width = 2 if _is_split(dim) else 1
        places.append(list(range(start, start + width)))
        start += width
    return places


class _Splitter:
    """Writes the nodes of a graph again, with the axes of their values apart."""

    def __init__(self, builder: Builder, shapes: Mapping[str, Shape]) -> None:
        self.builder, self.shapes = builder, shapes
        self.names: dict[str, str] = {}

    def add(self, node: Node) -> None:
        self.builder.path = node.name
        rule = _RULES.get(node.op)
        inputs = [self.names.get(x, x) for x in node.inputs]
        if rule is not None:
            self.names[node.output] = rule(self, node, inputs)
            return
        attrs = dict(node.attrs)
        if "axis" in attrs:
            (attrs["axis"],) = self._axis(node, cast(int, attrs["axis"]))
        self.names[node.output] = self.builder.emit_with(node.op, inputs, attrs)

    def _axis(self, node: Node, axis: int) -> list[int]:
        shape = self.shapes[node.inputs[0]]
        places = _places(shape)[axis % len(shape)]
        if len(places) > 1:
            raise CaptureError(f"{node.name}: {node.op} along the axis {shape[axis]} of the batch")
        return places

    def reshape(self, node: Node, inputs: list[str]) -> str:
        return self.builder.reshape(inputs[0], _apart(self.shapes[node.output]))

    def transpose(self, node: Node, inputs: list[str]) -> str:
        places = _places(self.shapes[node.inputs[0]])
        perm = [place for axis in node.numbers("perm") for place in places[axis]]
        return self.builder.transpose(inputs[0], tuple(perm))

    def elementwise(self, node: Node, inputs: list[str]) -> str:
        result = self.shapes[node.output]
        aligned = [
            self._aligned(x, old, result) for x, old in zip(inputs, node.inputs, strict=True)
        ]
        return self.builder.emit_with(node.op, aligned, node.attrs)

    def _aligned(self, value: str, old: str, result: Shape) -> str:
        """``value`` with an axis of 1 wherever the result has two axes and it has one."""
        shape = self.shapes.get(old, self.builder.shape(value))
        dims: list[Dim] = []
        for dim, full in zip(shape, result[len(result) - len(shape) :], strict=True):
            dims += [1] if _is_split(full) and not _is_split(dim) else []
            dims += _apart((dim,))
        array = self.builder.array(value)
        if tuple(dims) == self.builder.shape(value):
            return value
        if array is not None:
            return self.builder.constant(value, array.reshape(cast(Any, dims)))
        return self.builder.reshape(value, tuple(dims))

    def batch_norm(self, node: Node, inputs: list[str]) -> str:
        """A gain and a shift per channel, which broadcast whatever the axes are."""
        x, *rest = inputs
        gamma, beta, mean, var = (self.builder.graph.constants[c] for c in rest)
        tail = (1,) * (len(self.shapes[node.inputs[0]]) - 2)
        gain = gamma / np.sqrt(var + node.number("eps"))
        bias = self.builder.constant(rest[1], (beta - mean * gain).reshape(-1, *tail))
        scale = self.builder.constant(rest[0], gain.reshape(-1, *tail))
        return self.builder.emit("add", self.builder.emit("mul", x, scale), bias)

    def windows(self, node: Node, inputs: list[str]) -> str:
        """Several images of a sample: as more channels if each channel is alone, else stacked."""
        x, *parameters = inputs
        if len(self.builder.shape(x)) != 5:
            return self.builder.emit_with(node.op, inputs, node.attrs)
        if node.op == "conv2d":
            return self._stacked(node, x, parameters)
        n, count, channels, *size = self.builder.shape(x)
        flat = self.builder.reshape(x, (n, product((count, channels)), *size))
        arrays = ((name, self.builder.graph.constants[name]) for name in parameters)
        tiled = [self.builder.constant(c, np.concatenate([a] * fixed(count))) for c, a in arrays]
        result = self.builder.emit_with(node.op, [flat, *tiled], node.attrs)
        return self.builder.reshape(result, (n, count, channels, *self.builder.shape(result)[2:]))

    def _stacked(self, node: Node, x: str, parameters: list[str]) -> str:
        """A convolution of [N, W, C, H, V]: the W images one below the other, zeros between.

        Every image starts at a multiple of the stride, so that its windows are those of the stack.
        """
        build, (n, count, channels, height, width) = self.builder, self.builder.shape(x)
        kernel = fixed(build.shape(parameters[0])[2])
        (step, across), (above, beside) = node.numbers("stride"), node.numbers("padding")
        rows = (fixed(height) + 2 * above - kernel) // step + 1
        pitch = -(-(fixed(height) + 2 * above) // step) * step
        x = self._with_zeros(x, 3, above, pitch - above - fixed(height))
        stack = build.reshape(
            build.transpose(x, (0, 2, 1, 3, 4)), (n, channels, fixed(count) * pitch, width)
        )
        stack = self._with_zeros(stack, 2, 0, max(kernel - step, 0))
        attrs = {"stride": (step, across), "padding": (0, beside)}
        result = build.emit_with("conv2d", [stack, *parameters], attrs)
        _, out, _, columns = build.shape(result)
        apart = build.reshape(result, (n, out, count, pitch // step, columns))
        return build.slice(build.transpose(apart, (0, 2, 1, 3, 4)), 3, 0, rows)

    def _with_zeros(self, x: str, axis: int, before: int, after: int) -> str:
        shape = self.builder.shape(x)
        parts = [x]
        for place, lines in ((0, before), (2, after)):
            if lines:
                sizes = [1, *map(fixed, (*shape[1:axis], lines, *shape[axis + 1 :]))]
                blank = self.builder.constant("zeros", np.zeros(sizes))
                parts.insert(place, self.builder.emit("expand", blank, axis=0))
        return self.builder.emit("concat", *parts, axis=axis) if len(parts) > 1 else x


_RULES: dict[str, Callable[[_Splitter, Node, list[str]], str]] = {
    "reshape": _Splitter.reshape,
    "transpose": _Splitter.transpose,
    "batch_norm": _Splitter.batch_norm,
    **dict.fromkeys(("conv2d", "depthwise", "max_pool"), _Splitter.windows),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow", "matmul"), _Splitter.elementwise),
}
