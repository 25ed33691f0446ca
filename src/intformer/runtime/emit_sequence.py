"""Native steps of the operators that sequence models need."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from intformer.arith import norm_constants
from intformer.ir.graph import Array, Node
from intformer.runtime.emit_linear import packed_weight
from intformer.runtime.forms import LAYOUTS
from intformer.runtime.memory import Location
from intformer.runtime.operands import as_int16
from intformer.runtime.plan import DTYPE_CODES, ITEM_SIZE, Builder

QUERY_BLOCK = 16
"""Queries that one unit of attention handles."""


def _integer(node: Node, key: str) -> int:
    return cast(int, node.attrs[key])


def _code(builder: Builder, name: str) -> int:
    return DTYPE_CODES[builder.dtype(name)]


FEW_QUERIES = 4
"""Up to here packing the keys of softmax attention costs more than it saves."""


def attend(builder: Builder, node: Node) -> None:
    """Attention over keys as they lie, for few queries, sequences with a cache and polynomials."""
    batch, queries, width = builder.shape(node.inputs[0])
    keys, heads = builder.shape(node.inputs[1])[1], _integer(node, "heads")
    softmax = node.op in ("attention", "causal_attention")
    kv_heads = _integer(node, "kv_heads") if "kv_heads" in node.attrs else heads
    power = 0 if softmax else _integer(node, "power")
    numbers = [QUERY_BLOCK, batch, heads, kv_heads, queries, keys, width // heads]
    numbers += [int(node.op.startswith("causal")), power]
    shift = "exp_shift" if softmax else "poly_shift"
    names = ("q_zero", "k_zero", "v_zero", "limit", "multiplier", shift, "gain", "offset", "shift")
    numbers += [_integer(node, key) for key in names]
    numbers.append(_code(builder, node.output))
    places: list[Location | None] = [builder.locate(name) for name in node.inputs]
    heads_of = [None, None] if softmax else places[3:5]
    (last,) = places[3 if softmax else 5 :] or [None]
    masked = not node.op.startswith("causal")
    extra = [last, None] if masked else [None, last]
    places = [*places[:3], *extra, *heads_of, builder.define(node.output)]
    builder.step("sequence_attention", places, numbers)


def _whole(builder: Builder, name: str, channels: int) -> Location:
    """A constant of one value per channel, in natural order."""
    values = builder.graph.constants[name]

    def spread() -> Array:
        return np.ascontiguousarray(np.broadcast_to(values, channels))

    return builder.constant(("natural", name, channels), spread)


def _rotary(builder: Builder, node: Node) -> None:
    batch, tokens, _ = builder.shape(node.output)
    numbers = [batch * tokens, tokens, *(_integer(node, k) for k in ("heads", "size", "rows"))]
    places: list[Location | None] = [builder.locate(name) for name in node.inputs]
    places = [*places, *[None] * (4 - len(places)), builder.define(node.output)]
    builder.step("rotary", places, numbers)


def _l1_norm(builder: Builder, node: Node) -> None:
    shape = builder.shape(node.output)
    channels = shape[-1]
    _, reciprocal = norm_constants(channels)
    numbers = [math.prod(shape[:-1]), channels, _integer(node, "eps"), _integer(node, "shift")]
    numbers += [reciprocal, _code(builder, node.output)]
    parameters = [_whole(builder, name, channels) for name in node.inputs[1:]]
    x = as_int16(builder, node.inputs[0])
    builder.step("l1_norm", [x, *parameters, builder.define(node.output)], numbers)


def _append(builder: Builder, node: Node) -> None:
    batch, length, width = builder.shape(node.output)
    tokens = builder.shape(node.inputs[1])[1]
    places: list[Location | None] = [builder.locate(name) for name in node.inputs]
    places.append(builder.define(node.output))
    builder.step("append", places, [batch, length, tokens, width])


def _positions_at(builder: Builder, node: Node) -> None:
    batch, tokens, channels = builder.shape(node.output)
    width = channels * ITEM_SIZE[builder.dtype(node.output)]
    places = [builder.locate(name) for name in node.inputs[1:]]
    numbers = [batch * tokens, tokens, width, _integer(node, "rows")]
    builder.step("position_rows", [*places, builder.define(node.output)], numbers)


def _tied_embedding(builder: Builder, node: Node) -> None:
    ids, weight, multiplier = node.inputs
    width, vocabulary = builder.shape(weight)
    rows, lanes, depth = _tied_rows(builder, weight)
    numbers = [math.prod(builder.shape(ids)), width, vocabulary, _integer(node, "shift")]
    numbers += [_code(builder, ids), _code(builder, node.output), lanes, depth]
    places: list[Location | None] = [builder.locate(ids), rows, builder.locate(multiplier)]
    builder.step("tied_embedding", [*places, builder.define(node.output)], numbers)


def _tied_rows(builder: Builder, weight: str) -> tuple[Location, int, int]:
    """A weight as a table: as products have it packed, so that it is stored once, or as it lies."""
    tied = any(node.op == "linear" and node.inputs[1] == weight for node in builder.graph)
    if tied and weight not in builder.packed:
        place, form = packed_weight(builder, weight, "linear", rows=1)
        layout = LAYOUTS.get(form)
        if layout is not None and layout.group == 4:
            depth = -(-int(builder.shape(weight)[0]) // layout.multiple) * layout.multiple
            return place, builder.machine.lanes, depth
    return builder.locate(weight), 0, 0


SEQUENCE_EMITTERS: dict[str, Callable[[Builder, Node], None]] = {
    "causal_attention": attend,
    "polynomial_attention": attend,
    "causal_polynomial_attention": attend,
    "rotary": _rotary,
    "l1_norm": _l1_norm,
    "append_rows": _append,
    "positions_at": _positions_at,
    "tied_embedding": _tied_embedding,
}
