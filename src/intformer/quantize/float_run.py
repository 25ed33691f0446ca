"""Run a float-stage graph with PyTorch: calibration, comparison and the training twin use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intformer.errors import CaptureError, InputError
from intformer.ir.graph import Graph, Node

Observer = Callable[[str, Tensor], None]
Sizes = Mapping[str, int]
"""Symbol -> the size it has in one run, for example ``{"N": 8, "S": 128}``."""

Operator = Callable[..., Tensor]


class FloatRunner:
    """Interpreter of one float-stage graph, canonical or not.

    Constants become tensors once, sharing memory with the graph: to try other weights, replace
    entries of ``constants`` instead of changing them in place.
    """

    def __init__(self, graph: Graph, device: str | torch.device = "cpu") -> None:
        self.graph = graph
        self.device = torch.device(device)
        self.constants = {k: _tensor(v).to(self.device) for k, v in graph.constants.items()}

    def run(
        self,
        inputs: Mapping[str, Tensor],
        *,
        keep: Collection[str] | Literal["all"] | None = None,
        observe: Observer | None = None,
    ) -> dict[str, Tensor]:
        """Compute the graph and return values by value name.

        Args:
            inputs: graph input name -> tensor; float32 or integer, shaped as ``graph.inputs`` says.
            keep: value names to return; ``None`` keeps the graph's outputs, ``"all"`` every input
                and node output. A value not kept is freed after its last use.
            observe: called with (value name, tensor) for every input and node output, in order.

        Raises:
            InputError: an input is missing, unknown or of the wrong rank or size.
        """
        values = {name: _tensor(x).to(self.device) for name, x in inputs.items()}
        sizes = bind_sizes(self.graph, values)
        wanted = self._wanted(keep)
        uses = Counter(value for node in self.graph.nodes for value in node.inputs)
        for name, value in values.items():
            if observe:
                observe(name, value)
        for node in self.graph.nodes:
            value = evaluate(node, [self._value(values, name) for name in node.inputs], sizes)
            values[node.output] = value
            if observe:
                observe(node.output, value)
            _release(values, node, uses, wanted)
        return {name: self._value(values, name) for name in wanted}

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The graph's outputs by their public names."""
        values = self.run(inputs)
        return {public: values[name] for public, name in self.graph.outputs.items()}

    def _wanted(self, keep: Collection[str] | Literal["all"] | None) -> list[str]:
        if keep is None:
            return list(dict.fromkeys(self.graph.outputs.values()))
        if keep == "all":
            return [*self.graph.inputs, *(node.output for node in self.graph.nodes)]
        return list(keep)

    def _value(self, values: Mapping[str, Tensor], name: str) -> Tensor:
        return values[name] if name in values else self.constants[name]


def evaluate(node: Node, inputs: list[Tensor], sizes: Sizes | None = None) -> Tensor:
    """Apply one float-stage operator; differentiable.

    Args:
        node: the operator and its attributes.
        inputs: one tensor for each of ``node.inputs``.
        sizes: symbol -> size; ``expand`` and ``positions`` need no input of that size otherwise.

    Raises:
        CaptureError: the operator is not a float-stage operator.
    """
    if node.op == "expand":
        return _expand(inputs[0], cast(int, node.attrs["axis"]), sizes or {})
    function = OPERATORS.get(node.op)
    if function is None:
        raise CaptureError(f"{node.name or node.outputs[0]}: unknown float operator {node.op!r}")
    return function(*inputs, **node.attrs)


def bind_sizes(graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, int]:
    """Match inputs against the graph's input types and return the size of each symbol."""
    unknown = set(inputs) - set(graph.inputs)
    if unknown:
        raise InputError(f"unknown input {min(unknown)!r}; expected {list(graph.inputs)}")
    sizes: dict[str, int] = {}
    for name, expected in graph.inputs.items():
        if name not in inputs:
            raise InputError(f"input {name!r} is missing; expected {list(graph.inputs)}")
        shape = tuple(inputs[name].shape)
        if len(shape) != len(expected.shape):
            raise InputError(f"input {name!r} has shape {list(shape)}, expected {expected}")
        for dim, size in zip(expected.shape, shape, strict=True):
            known = sizes.setdefault(dim, size) if isinstance(dim, str) else dim
            if known != size:
                raise InputError(f"input {name!r} has shape {list(shape)}, expected {expected}")
    return sizes


def _release(
    values: dict[str, Tensor], node: Node, uses: Counter[str], wanted: Collection[str]
) -> None:
    for name in node.inputs:
        uses[name] -= 1
    for name in (*node.inputs, *node.outputs):
        if uses[name] <= 0 and name not in wanted:
            values.pop(name, None)


def _tensor(array: object) -> Tensor:
    if isinstance(array, np.ndarray):
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return torch.as_tensor(array)


def _expand(x: Tensor, axis: int, sizes: Sizes) -> Tensor:
    shape = [-1] * x.dim()
    shape[axis] = sizes["N"]
    return x.expand(shape)


def _layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), gamma, beta, eps)


def _rms_norm(x: Tensor, gamma: Tensor, *, eps: float) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), gamma, eps)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attrs: Any) -> Tensor:
    return F.conv2d(x, weight[:, None], bias, groups=len(weight), **attrs)


def _batch_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, *, eps: float
) -> Tensor:
    return F.batch_norm(x, mean, var, gamma, beta, training=False, eps=eps)


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    heads: int,
    scale: float,
    causal: bool = False,
    kv_heads: int = 0,
) -> Tensor:
    keys, values = (_split(x, kv_heads or heads) for x in (k, v))
    mixed = _sdpa(_split(q, heads), keys, values, mask, scale=scale, causal=causal)
    return mixed.transpose(1, 2).flatten(2)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    causal: bool = False,
) -> Tensor:
    keep = None if mask is None else (mask != 0)[:, None, None, :]
    groups = q.dim() == 4 and q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=keep, scale=scale, is_causal=causal, enable_gqa=groups
    )


def _polynomial_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    b: Tensor,
    delta: Tensor,
    mask: Tensor | None = None,
    *,
    heads: int,
    scale: float,
    power: int,
    causal: bool = False,
) -> Tensor:
    q, k, v = (_split(x, heads) for x in (q, k, v))
    mixed = _polynomial_sdpa(q, k, v, b, delta, mask, scale=scale, power=power, causal=causal)
    return mixed.transpose(1, 2).flatten(2)


def _polynomial_sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    b: Tensor,
    delta: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    power: int,
    causal: bool = False,
) -> Tensor:
    scores = scale * (q @ k.transpose(-2, -1)) + b[:, None, None]
    poly = _hide(scores.relu() ** power + delta[:, None, None], mask, causal=causal)
    return poly / poly.sum(-1, keepdim=True) @ v


def _hide(x: Tensor, mask: Tensor | None = None, *, causal: bool) -> Tensor:
    if causal:
        x = x * torch.ones(x.shape[-2:], dtype=x.dtype, device=x.device).tril()
    return x if mask is None else x * (mask != 0)[:, None, None, :]


def _causal_mask(ids: Tensor, *, hides: bool) -> Tensor:
    keep = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    return _as_mask(keep[None, None], hides)


def _as_mask(keep: Tensor, hides: bool) -> Tensor:
    if hides:
        return ~keep
    return torch.zeros(keep.shape, device=keep.device).masked_fill(~keep, float("-inf"))


def _l1_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return gamma * (centred / (centred.abs().mean(-1, keepdim=True) + eps)) + beta


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    length, half = x.shape[2], x.shape[3] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cosine[:length] + turned * sine[:length]


def _rotary(x: Tensor, cosine: Tensor, sine: Tensor, *, heads: int) -> Tensor:
    return _rotate(_split(x, heads), cosine, sine).transpose(1, 2).flatten(2)


def _biased_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, heads: int, scale: float
) -> Tensor:
    q, k, v = (x.reshape(*x.shape[:3], heads, -1).transpose(2, 3) for x in (q, k, v))
    return _biased_sdpa(q, k, v, bias, scale=scale).transpose(2, 3).flatten(3)


def _biased_sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, *, scale: float) -> Tensor:
    return ((q @ k.transpose(-2, -1)) * scale + bias).softmax(-1) @ v


def _mean(x: Tensor, *, axis: int | tuple[int, ...], keepdims: bool) -> Tensor:
    return x.mean(dim=axis, keepdim=keepdims)


def _reshape(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(shape)])


def _slice(x: Tensor, *, axis: int, start: int, stop: int) -> Tensor:
    return x[(slice(None),) * (axis % x.dim()) + (slice(start, stop),)]


def _positions(ids: Tensor, table: Tensor) -> Tensor:
    return table[: ids.shape[1]].unsqueeze(0)


def _key_mask(mask: Tensor, *, hides: bool) -> Tensor:
    return _as_mask((mask != 0)[:, None, None, :], hides)


OPERATORS: dict[str, Operator] = {
    "conv2d": F.conv2d,
    "linear": F.linear,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    "depthwise": _depthwise,
    "max_pool": lambda x, *, kernel, stride, padding: F.max_pool2d(x, kernel, stride, padding),
    "max": lambda x, *, axis, keepdims: x.amax(axis, keepdim=keepdims),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "leaky_relu": lambda x, *, slope: F.leaky_relu(x, slope),
    "elu": lambda x, *, alpha: F.elu(x, alpha),
    "clamp": lambda x, *, low, high: x.clamp(low, high),
    "square": torch.square,
    "reciprocal": lambda x: torch.where(x == 0, 0.0, 1 / x),
    "softplus": F.softplus,
    "attention": _attention,
    "sdpa": _sdpa,
    "biased_attention": _biased_attention,
    "biased_sdpa": _biased_sdpa,
    "polynomial_attention": _polynomial_attention,
    "polynomial_sdpa": _polynomial_sdpa,
    "l1_norm": _l1_norm,
    "rotary": _rotary,
    "rotate": _rotate,
    "hide": _hide,
    "causal_mask": _causal_mask,
    "total": lambda x: x.sum(-1, keepdim=True),
    "abs": torch.abs,
    "gelu": F.gelu,
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "sqrt": lambda x: x.clamp(min=0).sqrt(),
    "erf": torch.erf,
    "exp": torch.exp,
    "scale": lambda x, *, factor: x * factor,
    "rescale": lambda x, gain, bias: x * gain + bias,
    "mean": _mean,
    "matmul": torch.matmul,
    "softmax": lambda x, *, axis: x.softmax(axis),
    "reshape": _reshape,
    "transpose": lambda x, *, perm: x.permute(perm),
    "slice": _slice,
    "concat": lambda *xs, axis: torch.cat(xs, axis),
    "embedding": lambda table, ids: F.embedding(ids.long(), table),
    "positions": _positions,
    "key_mask": _key_mask,
}
"""Operator name -> its meaning. ``expand`` is absent: it needs the sizes of the run."""
