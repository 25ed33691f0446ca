"""Everything affine around a linear layer, a convolution or a norm goes into its parameters."""

from __future__ import annotations

import numpy as np

from intformer.frontend.rewrite import Rewriter
from intformer.ir.float_ops import WEIGHTED
from intformer.ir.graph import Array, Node

NORMS = ("layer_norm", "l1_norm", "rms_norm")


def matmul_to_linear(rw: Rewriter, node: Node) -> str | None:
    """``x @ w`` with a constant matrix is a linear layer."""
    if node.op != "matmul":
        return None
    x, w = node.inputs
    weight = rw.array(w)
    if weight is None or weight.ndim != 2:
        return None
    return rw.emit("linear", x, rw.parameter(w, np.ascontiguousarray(weight.T)))


def add_to_bias(rw: Rewriter, node: Node) -> str | None:
    """A vector added to a linear layer or a layer norm is (part of) its bias."""
    if node.op != "add":
        return None
    for x, c in rw.sides(node):
        vector, layer = rw.vector(c), rw.sole(x, "linear", "layer_norm", "l1_norm")
        if vector is not None and layer is not None and rw.shape(x) == rw.shape(node.output):
            return _with_bias(rw, layer, c, vector)
    return None


def _with_bias(rw: Rewriter, layer: Node, c: str, vector: Array) -> str:
    rw.path = layer.name or rw.path
    *rest, last = layer.inputs
    if layer.op == "linear" and len(layer.inputs) == 2:
        return rw.emit("linear", *layer.inputs, rw.parameter(c, vector))
    bias = rw.graph.constants[last]
    like = last if bias.any() else c
    return rw.emit_with(layer.op, [*rest, rw.parameter(like, bias + vector)], layer.attrs)


def multiply_into_layer(rw: Rewriter, node: Node) -> str | None:
    """A vector multiplied onto a linear layer or a norm goes into its parameters (LayerScale)."""
    if node.op != "mul":
        return None
    for x, c in rw.sides(node):
        vector, layer = rw.vector(c), rw.sole(x, "linear", *NORMS)
        if vector is None or layer is None or rw.shape(x) != rw.shape(node.output):
            continue
        return _scaled(rw, layer, vector, c)
    return None


def scale_into_layer(rw: Rewriter, node: Node) -> str | None:
    """A number multiplied onto a linear layer or a norm goes into its parameters."""
    layer = rw.sole(node.inputs[0], "linear", *NORMS) if node.op == "scale" else None
    if layer is None:
        return None
    factor = np.float32(node.number("factor"))
    return _scaled(rw, layer, np.full(len(rw.graph.constants[layer.inputs[1]]), factor), None)


def _scaled(rw: Rewriter, layer: Node, factor: Array, like: str | None) -> str:
    """``layer`` with its outputs multiplied by ``factor``, one number per channel."""
    rw.path = layer.name or rw.path
    x, first, *bias = layer.inputs
    old = rw.graph.constants[first]
    fresh = like is not None and layer.op != "linear" and bool((old == 1).all())
    weight = old * factor.reshape(-1, *(1,) * (old.ndim - 1))
    parameters = [rw.parameter(like if fresh and like else first, weight)]
    parameters += [rw.parameter(b, rw.graph.constants[b] * factor) for b in bias]
    return rw.emit_with(layer.op, [x, *parameters], layer.attrs)


def fold_batch_norm(rw: Rewriter, node: Node) -> str | None:
    """Batch norm after a convolution or a linear layer is an affine map per channel."""
    layer = rw.sole(node.inputs[0], *WEIGHTED) if node.op == "batch_norm" else None
    if layer is None or (layer.op == "linear" and len(rw.shape(layer.output)) != 2):
        return None
    gamma, beta, mean, var = (rw.graph.constants[p].astype(np.float64) for p in node.inputs[1:])
    factor = gamma / np.sqrt(var + node.number("eps"))
    x, w, *bias = layer.inputs
    old = rw.graph.constants[w]
    weight = old * factor.reshape(-1, *(1,) * (old.ndim - 1))
    shift = (rw.graph.constants[bias[0]] if bias else 0.0) - mean
    name = bias[0] if bias else f"{layer.name}.bias"
    folded = beta + shift * factor
    b = rw.parameter(name, folded) if bias else rw.constant(name, folded)
    return rw.emit_with(layer.op, [x, rw.parameter(w, weight), b], layer.attrs, layer.name)


def unfold_batch_norm(rw: Rewriter, node: Node) -> str | None:
    """Batch norm that no layer can take is a gain and a shift per channel."""
    if node.op != "batch_norm":
        return None
    gamma, beta, mean, var = (rw.graph.constants[p].astype(np.float64) for p in node.inputs[1:])
    factor = gamma / np.sqrt(var + node.number("eps"))
    tail = (1,) * (len(rw.shape(node.output)) - 2)
    gain = rw.constant(node.inputs[1], factor.reshape(-1, *tail))
    shift = rw.constant(node.inputs[2], (beta - mean * factor).reshape(-1, *tail))
    return rw.emit("add", rw.emit("mul", node.inputs[0], gain), shift)


def multiply_into_convolution(rw: Rewriter, node: Node) -> str | None:
    """A constant per channel, multiplied onto a convolution, goes into its weights."""
    if node.op != "mul":
        return None
    for x, c in rw.sides(node):
        vector, layer = _per_channel(rw, c), rw.sole(x, "conv2d", "depthwise")
        if vector is not None and layer is not None and rw.shape(x) == rw.shape(node.output):
            full = np.broadcast_to(vector, len(rw.graph.constants[layer.inputs[1]]))
            return _scaled(rw, layer, np.array(full), None)
    return None


def add_into_convolution(rw: Rewriter, node: Node) -> str | None:
    """A constant per channel, added to a convolution, is (part of) its bias."""
    if node.op != "add":
        return None
    for x, c in rw.sides(node):
        vector, layer = _per_channel(rw, c), rw.sole(x, "conv2d", "depthwise")
        if vector is None or layer is None or rw.shape(x) != rw.shape(node.output):
            continue
        full = np.broadcast_to(vector, len(rw.graph.constants[layer.inputs[1]]))
        old = rw.graph.constants[layer.inputs[2]] if len(layer.inputs) > 2 else 0.0
        bias = rw.constant(f"{layer.name}.bias", full + old)
        return rw.emit_with(layer.op, [*layer.inputs[:2], bias], layer.attrs, layer.name)
    return None


def _per_channel(rw: Rewriter, value: str) -> Array | None:
    """A constant [C, 1, 1] or [1, C, 1, 1] as a vector."""
    array = rw.array(value)
    if array is None or array.ndim not in (3, 4) or array.shape[-2:] != (1, 1):
        return None
    return array.reshape(-1) if array.ndim == 3 or len(array) == 1 else None
