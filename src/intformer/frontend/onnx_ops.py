"""The mapping table from ONNX operators to float-stage operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import onnx

from intformer.errors import CaptureError
from intformer.frontend import shapes
from intformer.frontend.build import Builder
from intformer.ir.graph import Array, Dim, Graph, Shape


class Values(Protocol):
    """What a handler may ask about the values of the ONNX model."""

    opset: int

    def value(self, name: str) -> str:
        """The graph's value."""

    def fixed(self, name: str) -> Array | None:
        """The array of a fixed constant."""

    def dims(self, name: str) -> Shape:
        """A static vector of integers as dimensions."""

    def is_id(self, name: str) -> str | None:
        """The integer input that a value is."""


class Writer(Builder):
    """A builder that knows the ONNX values."""

    def __init__(self, graph: Graph, values: Values) -> None:
        super().__init__(graph)
        self.values = values

    def operands(self, node: onnx.NodeProto) -> list[str]:
        """The graph's values for all inputs of a node."""
        return [self.values.value(x) for x in node.input if x]

    def axes(self, node: onnx.NodeProto, since: int) -> list[int] | None:
        """Axes given as an attribute before opset ``since`` and as the second input from it on."""
        if self.values.opset < since:
            axes: list[int] | None = attribute(node, "axes")
            return axes
        if len(node.input) < 2 or not node.input[1]:
            return None
        return [shapes.fixed(d) for d in self.values.dims(node.input[1])]


Handler = Callable[[Writer, onnx.NodeProto], str | list[str]]
TABLE: dict[str, Handler] = {}


def maps(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler for ONNX operators."""

    def register(handler: Handler) -> Handler:
        TABLE.update(dict.fromkeys(names, handler))
        return handler

    return register


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute of a node, bytes as text."""
    for found in node.attribute:
        if found.name == name:
            value = onnx.helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


@maps("Identity", "Cast", "Dropout")
def _identity(w: Writer, node: onnx.NodeProto) -> str:
    return w.values.value(node.input[0])


@maps("Conv")
def _conv(w: Writer, node: onnx.NodeProto) -> str:
    x, weight, *bias = w.operands(node)
    kernel = [shapes.fixed(d) for d in w.shape(weight)[2:]]
    pads = attribute(node, "pads", [0] * 4)
    plain = (
        len(kernel) == 2
        and attribute(node, "group", 1) == 1
        and set(attribute(node, "dilations", [1])) == {1}
        and attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and pads[:2] == pads[2:]
    )
    if not plain:
        raise CaptureError(
            f"{node.name}: only 2-D convolutions with group 1, dilation 1 and symmetric numeric "
            "padding are supported"
        )
    stride = tuple(attribute(node, "strides", [1, 1]))
    return w.emit("conv2d", x, weight, *bias, stride=stride, padding=tuple(pads[:2]))


@maps("Gemm")
def _gemm(w: Writer, node: onnx.NodeProto) -> str:
    x, weight, *bias = w.operands(node)
    if attribute(node, "transA", 0):
        x = w.transpose(x, (1, 0))
    matrix = w.transpose(weight, (1, 0)) if attribute(node, "transB", 0) else weight
    product = _scaled(w, w.emit("matmul", x, matrix), attribute(node, "alpha", 1.0))
    if not bias:
        return product
    return w.emit("add", product, _scaled(w, bias[0], attribute(node, "beta", 1.0)))


def _scaled(w: Writer, value: str, factor: float) -> str:
    return value if factor == 1 else w.emit("scale", value, factor=float(factor))


def _direct(op: str) -> Handler:
    def handler(w: Writer, node: onnx.NodeProto) -> str:
        return w.emit(op, *w.operands(node))

    return handler


for _op in ("MatMul", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Exp"):
    maps(_op)(_direct(_op.lower()))
for _op in ("Tanh", "Sigmoid", "Relu"):
    maps(_op)(_direct(_op.lower()))


@maps("Neg")
def _neg(w: Writer, node: onnx.NodeProto) -> str:
    return w.emit("scale", *w.operands(node), factor=-1.0)


@maps("Reciprocal")
def _reciprocal(w: Writer, node: onnx.NodeProto) -> str:
    return w.emit("div", w.constant(f"{w.path}.one", np.ones(())), *w.operands(node))


@maps("Softmax")
def _softmax(w: Writer, node: onnx.NodeProto) -> str:
    (x,) = w.operands(node)
    rank = len(w.shape(x))
    axis = attribute(node, "axis", -1 if w.values.opset >= 13 else 1) % rank
    if axis != rank - 1:
        raise CaptureError(f"{node.name}: softmax over axis {axis}; only the last is supported")
    return w.emit("softmax", x, axis=axis)


@maps("Gelu")
def _gelu(w: Writer, node: onnx.NodeProto) -> str:
    return w.emit("gelu", *w.operands(node), approximate=attribute(node, "approximate", "none"))


@maps("LayerNormalization")
def _layer_norm(w: Writer, node: onnx.NodeProto) -> str:
    x, gamma, *beta = w.operands(node)
    if attribute(node, "axis", -1) % len(w.shape(x)) != len(w.shape(x)) - 1:
        raise CaptureError(f"{node.name}: layer norm over more than the last axis")
    shift = (
        beta[0] if beta else w.constant(f"{w.path}.bias", np.zeros(w.graph.constants[gamma].shape))
    )
    return w.emit("layer_norm", x, gamma, shift, eps=attribute(node, "epsilon", 1e-5))


@maps("BatchNormalization")
def _batch_norm(w: Writer, node: onnx.NodeProto) -> str:
    return w.emit("batch_norm", *w.operands(node), eps=attribute(node, "epsilon", 1e-5))


@maps("ReduceMean")
def _mean(w: Writer, node: onnx.NodeProto) -> str:
    axes = w.axes(node, since=18)
    if axes is None:
        raise CaptureError(f"{node.name}: mean over all axes would mix the samples of a batch")
    keep = bool(attribute(node, "keepdims", 1))
    return w.mean(w.values.value(node.input[0]), tuple(axes), keep)


@maps("GlobalAveragePool")
def _pool(w: Writer, node: onnx.NodeProto) -> str:
    (x,) = w.operands(node)
    return w.mean(x, (2, 3), True)


@maps("Transpose")
def _transpose(w: Writer, node: onnx.NodeProto) -> str:
    (x,) = w.operands(node)
    return w.transpose(x, tuple(attribute(node, "perm", range(len(w.shape(x)))[::-1])))


@maps("Reshape")
def _reshape(w: Writer, node: onnx.NodeProto) -> str:
    x = w.values.value(node.input[0])
    source, target = w.shape(x), w.values.dims(node.input[1])
    if not attribute(node, "allowzero", 0):
        target = tuple(source[i] if d == 0 else d for i, d in enumerate(target))
    return w.reshape(x, _resolved(source, target))


def _resolved(source: Shape, target: Shape) -> Shape:
    """``target`` without -1; a batch of one that an export has fixed follows the batch again."""
    if target and target[0] == 1 and source[0] == "N" and "N" not in target:
        target = ("N", *target[1:])
    if -1 not in target:
        return target
    free = target.index(-1)
    rest = target[:free] + target[free + 1 :]
    return (*target[:free], shapes.divide(source, rest), *target[free + 1 :])


@maps("Flatten")
def _flatten(w: Writer, node: onnx.NodeProto) -> str:
    (x,) = w.operands(node)
    shape, axis = w.shape(x), attribute(node, "axis", 1)
    return w.reshape(x, (shapes.product(shape[:axis]), shapes.product(shape[axis:])))


@maps("Unsqueeze")
def _unsqueeze(w: Writer, node: onnx.NodeProto) -> str:
    x = w.values.value(node.input[0])
    axes = w.axes(node, since=13) or []
    rank = len(w.shape(x)) + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(w.shape(x))
    return w.reshape(x, tuple(1 if i in new else next(old) for i in range(rank)))


@maps("Squeeze")
def _squeeze(w: Writer, node: onnx.NodeProto) -> str:
    x = w.values.value(node.input[0])
    shape, axes = w.shape(x), w.axes(node, since=13)
    gone = (
        {i for i, d in enumerate(shape) if d == 1}
        if axes is None
        else {a % len(shape) for a in axes}
    )
    return w.reshape(x, tuple(d for i, d in enumerate(shape) if i not in gone))


@maps("Slice")
def _slice(w: Writer, node: onnx.NodeProto) -> str:
    x = w.values.value(node.input[0])
    starts, ends, *more = [_integers(w, name) for name in node.input[1:]]
    axes = more[0] if more else range(len(starts))
    if len(more) > 1 and set(more[1]) != {1}:
        raise CaptureError(f"{node.name}: slice with steps {list(more[1])}; only 1 is supported")
    for axis, start, end in zip(axes, starts, ends, strict=True):
        x = w.slice(x, axis, start, end)
    return x


def _integers(w: Writer, name: str) -> list[int]:
    return [shapes.fixed(d) for d in w.values.dims(name)]


@maps("Split")
def _split(w: Writer, node: onnx.NodeProto) -> list[str]:
    x = w.values.value(node.input[0])
    axis = attribute(node, "axis", 0)
    total = shapes.fixed(w.shape(x)[axis])
    count = len(node.output)
    sizes: Sequence[int] = attribute(node, "split", [-(-total // count)] * count)
    if len(node.input) > 1 and node.input[1]:
        sizes = _integers(w, node.input[1])
    stops = np.cumsum(sizes).tolist()
    return [w.slice(x, axis, stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]


@maps("Gather")
def _gather(w: Writer, node: onnx.NodeProto) -> str:
    axis = attribute(node, "axis", 0)
    index = w.values.fixed(node.input[1])
    if index is None:
        ids = w.values.is_id(node.input[1])
        if ids is None or axis != 0:
            raise CaptureError(f"{node.name}: Gather with computed indices is not supported")
        return w.emit("embedding", w.values.value(node.input[0]), ids)
    if index.ndim != 0:
        raise CaptureError(f"{node.name}: Gather of several elements is not supported; use Slice")
    return w.select(w.values.value(node.input[0]), axis, int(index))


@maps("Concat")
def _concat(w: Writer, node: onnx.NodeProto) -> str:
    values = w.operands(node)
    axis = attribute(node, "axis", 0) % len(w.shape(values[0]))
    if axis != 0 and any(w.shape(x)[0] == "N" for x in values):
        values = [_repeated(w, x) for x in values]
    return w.emit("concat", *values, axis=axis)


def _repeated(w: Writer, value: str) -> str:
    """A constant for a batch of one, which an export with a fixed batch leaves, for every batch."""
    single = w.array(value) is not None and w.shape(value)[0] == 1
    return w.emit("expand", value, axis=0) if single else value


@maps("Expand")
def _expand(w: Writer, node: onnx.NodeProto) -> str:
    x = w.values.value(node.input[0])
    target: tuple[Dim, ...] = shapes.broadcast(w.shape(x), w.values.dims(node.input[1]))
    if target != w.shape(x):
        raise CaptureError(f"{node.name}: expand of {list(w.shape(x))} to {list(target)}")
    return x
