"""The mapping table from ATen operators to float-stage operators.

Each entry takes the :class:`Writer` and the operator's arguments by their ATen names and returns
the name of the value it made (a list of names for operators with several results). Tensor
arguments arrive as value names. Operators that change nothing return their input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from intformer.errors import CaptureError
from intformer.frontend import shapes
from intformer.frontend.build import Builder
from intformer.ir.graph import Shape

Handler = Callable[..., str | list[str]]

TABLE: dict[str, Handler] = {}
"""ATen operator without its overload, for example ``linear``, ``add`` -> handler."""


class Writer(Builder):
    """A builder that also knows the result shape of the operator being mapped."""

    result: Shape = ()
    operator: str = ""


Mapped = TypeVar("Mapped", bound=Handler)


def maps(*names: str) -> Callable[[Mapped], Mapped]:
    """Register a handler for ATen operators."""

    def register(handler: Mapped) -> Mapped:
        TABLE.update(dict.fromkeys(names, handler))
        return handler

    return register


@maps("dropout", "dropout_", "feature_dropout", "alpha_dropout")
def _dropout(w: Writer, input: str, p: float, train: bool, **_: Any) -> str:
    if train and p > 0:
        raise CaptureError(f"{w.path}: dropout is active; call model.eval() first")
    return input


@maps(
    *("contiguous", "clone", "detach", "detach_", "alias", "to", "_to_copy", "type_as"),
    *("lift_fresh_copy", "native_dropout", "positive"),
)
def _identity(w: Writer, input: str, **_: Any) -> str:
    return input


@maps("linear")
def _linear(w: Writer, input: str, weight: str, bias: str | None) -> str:
    return w.emit("linear", input, weight, *([bias] if bias else []))


@maps("addmm")
def _addmm(w: Writer, input: str, mat1: str, mat2: str, **_: Any) -> str:
    return w.emit("add", w.emit("matmul", mat1, mat2), input)


@maps("matmul", "bmm", "mm")
def _matmul(w: Writer, input: str, other: str = "", mat2: str = "") -> str:
    return w.emit("matmul", input, other or mat2)


@maps("layer_norm")
def _layer_norm(
    w: Writer,
    input: str,
    normalized_shape: Sequence[int],
    weight: str | None,
    bias: str | None,
    eps: float,
    **_: Any,
) -> str:
    size = _last_axis(w, normalized_shape)
    gamma = weight or w.constant(f"{w.path}.weight", np.ones(size))
    beta = bias or w.constant(f"{w.path}.bias", np.zeros(size))
    return w.emit("layer_norm", input, gamma, beta, eps=eps)


@maps("rms_norm")
def _rms_norm(
    w: Writer,
    input: str,
    normalized_shape: Sequence[int],
    weight: str | None,
    eps: float | None,
) -> str:
    size = _last_axis(w, normalized_shape)
    gamma = weight or w.constant(f"{w.path}.weight", np.ones(size))
    return w.emit("rms_norm", input, gamma, eps=_EPS if eps is None else eps)


_EPS = float(np.finfo(np.float32).eps)


def _last_axis(w: Writer, normalized_shape: Sequence[int]) -> int:
    if len(normalized_shape) != 1:
        raise CaptureError(f"{w.path}: normalisation over {len(normalized_shape)} axes; only one")
    return normalized_shape[0]


@maps("batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(
    w: Writer,
    input: str,
    weight: str | None,
    bias: str | None,
    running_mean: str | None,
    running_var: str | None,
    eps: float,
    training: bool = False,
    **_: Any,
) -> str:
    if training or running_mean is None or running_var is None:
        raise CaptureError(f"{w.path}: batch norm without running statistics; call model.eval()")
    size = w.shape(running_mean)
    gamma = weight or w.constant(f"{w.path}.weight", np.ones(size))
    beta = bias or w.constant(f"{w.path}.bias", np.zeros(size))
    return w.emit("batch_norm", input, gamma, beta, running_mean, running_var, eps=eps)


@maps("gelu")
def _gelu(w: Writer, input: str, approximate: str) -> str:
    return w.emit("gelu", input, approximate=approximate)


def _unary(op: str) -> Handler:
    def handler(w: Writer, input: str) -> str:
        return w.emit(op, input)

    return handler


for _op in ("relu", "tanh", "sigmoid", "silu", "sqrt", "erf", "exp", "square", "abs"):
    maps(_op, f"{_op}_")(_unary(_op))


@maps("rsqrt")
def _rsqrt(w: Writer, input: str) -> str:
    return w.emit("div", w.constant(f"{w.path}.one", np.ones(())), w.emit("sqrt", input))


@maps("neg")
def _neg(w: Writer, input: str) -> str:
    return w.emit("scale", input, factor=-1.0)


@maps("softmax", "_softmax")
def _softmax(w: Writer, input: str, dim: int, **_: Any) -> str:
    rank = len(w.shape(input))
    axis = dim % rank
    perm = tuple(rank - 1 if i == axis else axis if i == rank - 1 else i for i in range(rank))
    last = w.emit("softmax", w.transpose(input, perm), axis=rank - 1)
    return w.transpose(last, perm)


@maps("scaled_dot_product_attention")
def _sdpa(
    w: Writer,
    query: str,
    key: str,
    value: str,
    attn_mask: str | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool = False,
) -> str:
    if dropout_p > 0:
        raise CaptureError(f"{w.path}: attention dropout is active; call model.eval() first")
    if scale is None:
        scale = 1 / math.sqrt(shapes.fixed(w.shape(query)[-1]))
    if enable_gqa and is_causal and attn_mask is None:
        return w.emit("sdpa", query, key, value, scale=scale, causal=True)
    if attn_mask is None or _keeps_all(w, attn_mask):
        return w.emit("sdpa", query, key, value, scale=scale, causal=is_causal)
    producer = w.graph.producers().get(attn_mask)
    if producer is not None and producer.op in MASKS and not producer.attrs["hides"]:
        causal = producer.op == "causal_mask"
        mask = () if causal else producer.inputs
        return w.emit("sdpa", query, key, value, *mask, scale=scale, causal=causal or is_causal)
    return _biased(w, query, key, value, _additive(w, attn_mask), scale)


def _keeps_all(w: Writer, mask: str) -> bool:
    array = w.array(mask)
    if array is None:
        return False
    return bool(array.all() if array.dtype == np.bool_ else not array.any())


def _additive(w: Writer, mask: str) -> str:
    """A constant boolean mask as what it adds to the scores."""
    array = w.array(mask)
    if array is None or array.dtype != np.bool_:
        return mask
    return w.constant(mask, np.where(array, 0.0, DROPPED))


def _biased(w: Writer, query: str, key: str, value: str, bias: str, scale: float) -> str:
    """Attention in single operators, which patterns put together again."""
    rank = len(w.shape(key))
    transposed = w.transpose(key, (*range(rank - 2), rank - 1, rank - 2))
    scores = w.emit("scale", w.emit("matmul", query, transposed), factor=scale)
    weights = w.emit("softmax", w.emit("add", scores, bias), axis=rank - 1)
    return w.emit("matmul", weights, value)


DROPPED = -1e9
"""What a mask adds to a score that must not count."""


MASKS = ("key_mask", "causal_mask")


@maps("masked_fill", "masked_fill_")
def _masked_fill(w: Writer, input: str, mask: str, value: float) -> str:
    producer = w.graph.producers().get(mask)
    if value != 0 or producer is None or producer.op not in MASKS or not producer.attrs["hides"]:
        raise CaptureError(f"{w.path}: only hidden keys can be filled, and only with 0")
    causal = producer.op == "causal_mask"
    return w.emit("hide", input, *(() if causal else producer.inputs), causal=causal)


def _operand(w: Writer, value: str | float) -> str:
    return value if isinstance(value, str) else w.constant(f"{w.path}.number", np.array(value))


@maps("add", "add_")
def _add(w: Writer, input: str, other: str | float, alpha: float = 1) -> str:
    if alpha != 1:
        other = w.emit("scale", _operand(w, other), factor=float(alpha))
    return w.emit("add", input, _operand(w, other))


@maps("sub", "sub_")
def _sub(w: Writer, input: str, other: str | float, alpha: float = 1) -> str:
    if alpha != 1:
        other = w.emit("scale", _operand(w, other), factor=float(alpha))
    return w.emit("sub", input, _operand(w, other))


@maps("rsub")
def _rsub(w: Writer, input: str, other: str | float, alpha: float = 1) -> str:
    return w.emit("sub", _operand(w, other), w.emit("scale", input, factor=float(alpha)))


@maps("mul", "mul_")
def _mul(w: Writer, input: str, other: str | float) -> str:
    return w.emit("mul", input, _operand(w, other))


@maps("addcmul", "addcmul_")
def _addcmul(w: Writer, input: str, tensor1: str, tensor2: str, value: float = 1) -> str:
    product = w.emit("mul", tensor1, tensor2)
    scaled = product if value == 1 else w.emit("scale", product, factor=float(value))
    return w.emit("add", input, scaled)


@maps("div", "div_")
def _div(w: Writer, input: str, other: str | float, rounding_mode: str | None = None) -> str:
    if rounding_mode:
        raise CaptureError(f"{w.path}: division with rounding is not supported")
    return w.emit("div", input, _operand(w, other))


@maps("pow")
def _pow(w: Writer, input: str, exponent: str | float) -> str:
    return w.emit("pow", input, _operand(w, exponent))


@maps("mean")
def _mean(
    w: Writer, input: str, dim: Sequence[int] | None = None, keepdim: bool = False, **_: Any
) -> str:
    if not dim:
        raise CaptureError(f"{w.path}: mean over all axes would mix the samples of a batch")
    return w.mean(input, tuple(dim), keepdim)


@maps(
    *("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "squeeze_"),
    *("unsqueeze", "unsqueeze_", "view_as", "reshape_as"),
)
def _reshape(w: Writer, input: str, **_: Any) -> str:
    return w.reshape(input, w.result)


@maps("transpose", "transpose_", "swapaxes")
def _transpose(
    w: Writer, input: str, dim0: int | None = None, dim1: int | None = None, **axes: int
) -> str:
    rank = len(w.shape(input))
    first, second = (dim0, dim1) if dim0 is not None else (axes["axis0"], axes["axis1"])
    perm = list(range(rank))
    a, b = (first or 0) % rank, (second or 0) % rank
    perm[a], perm[b] = b, a
    return w.transpose(input, tuple(perm))


@maps("t", "numpy_T", "adjoint", "mT")
def _t(w: Writer, input: str) -> str:
    rank = len(w.shape(input))
    return w.transpose(input, (*range(rank - 2), rank - 1, rank - 2))


@maps("permute")
def _permute(w: Writer, input: str, dims: Sequence[int]) -> str:
    return w.transpose(input, tuple(dims))


@maps("slice")
def _slice(
    w: Writer, input: str, dim: int, start: int | None, end: int | None, step: int = 1
) -> str:
    if 0 in w.result:
        return NOTHING
    piece = w.slice(input, dim, start or 0, _END if end is None else end)
    return piece if step == 1 else every(w, piece, dim % len(w.shape(input)), step)


def every(w: Writer, x: str, axis: int, step: int) -> str:
    """``x[::step]`` along ``axis``: the first of every ``step`` neighbours."""
    shape = w.shape(x)
    size = shapes.fixed(shape[axis])
    whole = size // step
    parts = []
    if whole:
        body = w.slice(x, axis, 0, whole * step)
        apart = w.reshape(body, (*shape[:axis], whole, step, *shape[axis + 1 :]))
        first = w.slice(apart, axis + 1, 0, 1)
        parts.append(w.reshape(first, (*shape[:axis], whole, *shape[axis + 1 :])))
    if size % step:
        parts.append(w.slice(x, axis, whole * step, whole * step + 1))
    return parts[0] if len(parts) == 1 else w.emit("concat", *parts, axis=axis)


@maps("narrow")
def _narrow(w: Writer, input: str, dim: int, start: int, length: int) -> str:
    return w.slice(input, dim, start, start + length)


_END = 2**63 - 1


@maps("select")
def _select(w: Writer, input: str, dim: int, index: int) -> str:
    return w.select(input, dim, index)


@maps("unbind")
def _unbind(w: Writer, input: str, dim: int) -> list[str]:
    size = shapes.fixed(w.shape(input)[dim])
    return [w.select(input, dim, i) for i in range(size)]


@maps("split", "split_with_sizes", "unsafe_split")
def _split(
    w: Writer,
    input: str,
    split_size: int | Sequence[int] = 0,
    split_sizes: Sequence[int] = (),
    dim: int = 0,
) -> list[str]:
    sizes = split_sizes or split_size
    total = shapes.fixed(w.shape(input)[dim])
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    stops = np.cumsum(sizes).tolist()
    return [w.slice(input, dim, stop - n, stop) for n, stop in zip(sizes, stops, strict=True)]


@maps("chunk")
def _chunk(w: Writer, input: str, chunks: int, dim: int) -> list[str]:
    total = shapes.fixed(w.shape(input)[dim])
    size = -(-total // chunks)
    return [w.slice(input, dim, start, start + size) for start in range(0, total, size)]


NOTHING = ""
"""The name of a slice without elements (prefix tokens of a model that has none), which ``concat``
leaves out."""


@maps("cat", "concat")
def _concat(w: Writer, tensors: Sequence[str], dim: int) -> str:
    parts = [name for name in tensors if name != NOTHING]
    return parts[0] if len(parts) == 1 else w.emit("concat", *parts, axis=dim % len(w.result))


@maps("stack")
def _stack(w: Writer, tensors: Sequence[str], dim: int) -> str:
    dim %= len(w.result)
    shape = (*w.result[:dim], 1, *w.result[dim + 1 :])
    return w.emit("concat", *(w.reshape(x, shape) for x in tensors), axis=dim)


@maps("embedding")
def _embedding(w: Writer, weight: str, indices: str, **_: Any) -> str:
    return w.emit("embedding", weight, indices)
