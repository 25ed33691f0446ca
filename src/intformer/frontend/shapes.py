"""Types of float-stage values: symbolic dimensions and what each operator returns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from intformer.errors import CaptureError
from intformer.ir.float_ops import UNARY
from intformer.ir.graph import Attribute, Dim, Shape, TensorType

Attributes = Mapping[str, Any]
Rule = Callable[[list[Shape], Attributes], Shape]

MOVES = frozenset({"reshape", "transpose", "slice", "expand", "concat"})
"""Operators that move elements without changing them; they keep the element type."""


def infer(op: str, inputs: list[TensorType], attrs: Mapping[str, Attribute]) -> TensorType:
    """The type that ``op`` returns for inputs of the given types.

    Raises:
        CaptureError: the shapes do not fit the operator, or it is unknown.
    """
    rule = RULES.get(op)
    if rule is None:
        raise CaptureError(f"no shape rule for the float operator {op!r}")
    shape = rule([x.shape for x in inputs], attrs)
    dtype = inputs[0].dtype if op in MOVES else "float32"
    return TensorType(dtype, shape)


def product(dims: Shape) -> Dim:
    """The product of dimensions; symbols multiply to text such as ``"64*N"``."""
    size, symbols = _factors(dims)
    return _dim(size, symbols)


def divide(dims: Shape, by: Shape) -> Dim:
    """The product of ``dims`` divided by the product of ``by``.

    Raises:
        CaptureError: the division leaves a remainder or a symbol below the line.
    """
    size, symbols = _factors(dims)
    by_size, by_symbols = _factors(by)
    if by_size == 0 or size % by_size or by_symbols - symbols:
        raise CaptureError(f"cannot reshape {list(dims)}: not divisible by {list(by)}")
    return _dim(size // by_size, symbols - by_symbols)


def reshape_attribute(source: Shape, target: Shape) -> tuple[int, ...]:
    """``target`` as the ``shape`` attribute of ``reshape``: 0 copies, -1 infers, the rest is fixed.

    Raises:
        CaptureError: two symbolic dimensions move, so that no attribute can say it.
    """
    result = [_attribute_dim(source, i, dim) for i, dim in enumerate(target)]
    if result.count(-1) > 1:
        raise CaptureError(f"cannot reshape {list(source)} to {list(target)}: two free dimensions")
    return tuple(result)


def _attribute_dim(source: Shape, index: int, dim: Dim) -> int:
    if isinstance(dim, int):
        return dim
    return 0 if index < len(source) and source[index] == dim else -1


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape of an element-wise operator on ``a`` and ``b``.

    Raises:
        CaptureError: the shapes do not broadcast.
    """
    rank = max(len(a), len(b))
    pairs = zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True)
    result: list[Dim] = []
    for x, y in pairs:
        if x != y and x != 1 and y != 1:
            raise CaptureError(f"shapes {list(a)} and {list(b)} do not broadcast")
        result.append(y if x == 1 else x)
    return tuple(result)


def _factors(dims: Shape) -> tuple[int, Counter[str]]:
    size, symbols = 1, Counter[str]()
    for dim in dims:
        for part in [dim] if isinstance(dim, int) else dim.split("*"):
            if isinstance(part, int) or part.isdigit():
                size *= int(part)
            else:
                symbols[part] += 1
    return size, symbols


def _dim(size: int, symbols: Counter[str]) -> Dim:
    if not symbols:
        return size
    return "*".join([*([str(size)] if size != 1 else []), *sorted(symbols.elements())])


def _same(inputs: list[Shape], attrs: Attributes) -> Shape:
    return inputs[0]


def _elementwise(inputs: list[Shape], attrs: Attributes) -> Shape:
    return broadcast(inputs[0], inputs[1])


def _conv2d(inputs: list[Shape], attrs: Attributes) -> Shape:
    (n, c, *_), (out, w_in, *kernel) = inputs[0], inputs[1]
    if c != w_in:
        raise CaptureError(f"conv2d of {list(inputs[0])} with weights {list(inputs[1])}")
    _, _, *spatial = _windows(inputs[0], kernel, attrs)
    return (n, out, *spatial)


def _depthwise(inputs: list[Shape], attrs: Attributes) -> Shape:
    (_, c, *_), (channels, *kernel) = inputs[0], inputs[1]
    if c != channels:
        raise CaptureError(f"depthwise convolution of {list(inputs[0])} with {list(inputs[1])}")
    return _windows(inputs[0], kernel, attrs)


def _max_pool(inputs: list[Shape], attrs: Attributes) -> Shape:
    return _windows(inputs[0], attrs["kernel"], attrs)


def _border(inputs: list[Shape], attrs: Attributes) -> Shape:
    counts = zip(inputs[0], attrs["before"], attrs["after"], strict=True)
    return tuple(d if not b + a else b + fixed(d) + a for d, b, a in counts)


def _windows(image: Shape, kernel: Sequence[Dim], attrs: Attributes) -> Shape:
    if len(image) != 4:
        raise CaptureError(f"windows of {list(image)}; expected [N, C, H, W]")
    n, c, *size = image
    steps = zip(size, kernel, attrs["stride"], attrs["padding"], strict=True)
    spatial = tuple((fixed(d) + 2 * p - fixed(k)) // s + 1 for d, k, s, p in steps)
    return (n, c, *spatial)


def _linear(inputs: list[Shape], attrs: Attributes) -> Shape:
    x, w = inputs[0], inputs[1]
    if x[-1] != w[1]:
        raise CaptureError(f"linear of {list(x)} with weights {list(w)}")
    return (*x[:-1], w[0])


def _matmul(inputs: list[Shape], attrs: Attributes) -> Shape:
    a, b = inputs
    if min(len(a), len(b)) < 2 or a[-1] != b[-2]:
        raise CaptureError(f"matmul of {list(a)} and {list(b)}")
    return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])


def _attention(inputs: list[Shape], attrs: Attributes) -> Shape:
    q, k, v = inputs[:3]
    if q[-1] != k[-1] or k[:-1] != v[:-1]:
        raise CaptureError(f"attention of q {list(q)}, k {list(k)}, v {list(v)}")
    return (*q[:-1], v[-1])


def _positions_or_mask(inputs: list[Shape], attrs: Attributes) -> Shape:
    t = inputs[0][1]
    return (1, 1, t, t)


def _multi_head(inputs: list[Shape], attrs: Attributes) -> Shape:
    """``attention`` of whole rows: fewer heads of keys make k and v narrower than q."""
    q, k, v = inputs[:3]
    group = int(attrs["heads"]) // int(attrs.get("kv_heads", attrs["heads"]))
    if k != v or fixed(q[-1]) != fixed(k[-1]) * group:
        raise CaptureError(f"attention of q {list(q)}, k {list(k)}, v {list(v)}")
    return q


def _total(inputs: list[Shape], attrs: Attributes) -> Shape:
    return (*inputs[0][:-1], 1)


def _first(inputs: list[Shape], attrs: Attributes) -> Shape:
    return inputs[0]


def _mean(inputs: list[Shape], attrs: Attributes) -> Shape:
    (x,), axis = inputs, attrs["axis"]
    return (*x[:axis], *([1] if attrs["keepdims"] else []), *x[axis + 1 :])


def _reshape(inputs: list[Shape], attrs: Attributes) -> Shape:
    (x,) = inputs
    shape: list[Dim] = [x[i] if d == 0 else d for i, d in enumerate(attrs["shape"])]
    if -1 in shape:
        free = shape.index(-1)
        shape[free] = divide(x, tuple(d for i, d in enumerate(shape) if i != free))
    if product(tuple(shape)) != product(x):
        raise CaptureError(f"cannot reshape {list(x)} to {shape}")
    return tuple(shape)


def _transpose(inputs: list[Shape], attrs: Attributes) -> Shape:
    return tuple(inputs[0][i] for i in attrs["perm"])


def _slice(inputs: list[Shape], attrs: Attributes) -> Shape:
    (x,), axis, start, stop = inputs, attrs["axis"], attrs["start"], attrs["stop"]
    size = x[axis]
    if not 0 <= start < stop or (isinstance(size, int) and stop > size):
        raise CaptureError(f"cannot slice axis {axis} of {list(x)} from {start} to {stop}")
    return (*x[:axis], stop - start, *x[axis + 1 :])


def _concat(inputs: list[Shape], attrs: Attributes) -> Shape:
    axis, first = attrs["axis"], inputs[0]
    total = sum(fixed(x[axis]) for x in inputs)
    if any(x[:axis] + x[axis + 1 :] != first[:axis] + first[axis + 1 :] for x in inputs):
        raise CaptureError(f"cannot concatenate {[list(x) for x in inputs]} along axis {axis}")
    return (*first[:axis], total, *first[axis + 1 :])


def _expand(inputs: list[Shape], attrs: Attributes) -> Shape:
    (x,), axis = inputs, attrs["axis"]
    return (*x[:axis], "N", *x[axis + 1 :])


def _embedding(inputs: list[Shape], attrs: Attributes) -> Shape:
    table, ids = inputs
    return (*ids, table[1])


def _positions(inputs: list[Shape], attrs: Attributes) -> Shape:
    ids, table = inputs
    return (1, ids[1], table[1])


def _key_mask(inputs: list[Shape], attrs: Attributes) -> Shape:
    n, s = inputs[0]
    return (n, 1, 1, s)


def fixed(dim: Dim) -> int:
    """``dim`` as a number.

    Raises:
        CaptureError: it is a symbol.
    """
    if isinstance(dim, str):
        raise CaptureError(f"a fixed dimension is needed, found the symbol {dim!r}")
    return dim


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY | {"scale", "rescale", "erf", "softmax", "abs", "hide"}, _same),
    **dict.fromkeys(("layer_norm", "rms_norm", "l1_norm", "batch_norm"), _same),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow"), _elementwise),
    **dict.fromkeys(("sdpa", "polynomial_sdpa", "biased_attention", "biased_sdpa"), _attention),
    **dict.fromkeys(("attention", "polynomial_attention"), _multi_head),
    **dict.fromkeys(("rotary", "rotate"), _first),
    "causal_mask": _positions_or_mask,
    "total": _total,
    "conv2d": _conv2d,
    "linear": _linear,
    "matmul": _matmul,
    "depthwise": _depthwise,
    "max_pool": _max_pool,
    "border": _border,
    "mean": _mean,
    "max": _mean,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "expand": _expand,
    "embedding": _embedding,
    "positions": _positions,
    "key_mask": _key_mask,
}


def is_vector(shape: Shape) -> bool:
    """Whether a constant of this shape varies along the last axis only."""
    return all(isinstance(d, int) for d in shape) and math.prod(map(fixed, shape[:-1])) == 1
