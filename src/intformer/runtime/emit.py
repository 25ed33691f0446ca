"""Native steps for each integer operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from intformer.arith import BIAS_LIMIT, STORAGE, norm_constants
from intformer.extension import native
from intformer.ir.graph import Node
from intformer.runtime.emit_linear import emit_linear, window_operands
from intformer.runtime.emit_products import emit_depthwise, emit_matmul, emit_softmax
from intformer.runtime.emit_sequence import FEW_QUERIES, SEQUENCE_EMITTERS, attend
from intformer.runtime.fuse import Group
from intformer.runtime.memory import Location
from intformer.runtime.operands import (
    as_int16,
    broadcast_strides,
    clip_wide,
    copy_step,
    materialised,
    strides_of,
    walk,
)
from intformer.runtime.packing import (
    channels,
    clipped_levels,
    full_table,
    row_tables,
    wide_channels,
)
from intformer.runtime.plan import DTYPE_CODES, ITEM_SIZE, Builder

QUERY_BLOCK = 48
"""Queries that one unit of attention handles, where there are few heads."""

HEADS_PER_THREAD = 4
"""Heads from which on each is a unit: its keys and values are packed right before they are used,
in the scratch of the thread."""


def emit(builder: Builder, group: Group) -> None:
    """Append the steps of ``group``."""
    if group.head.op.startswith("linear"):
        emit_linear(builder, group)
    else:
        _EMITTERS[group.head.op](builder, group.head)
        _limit_levels(builder, group.head)


def _limit_levels(builder: Builder, node: Node) -> None:
    """Clip a result in place to fewer bits than its type has: kernels clip to whole types."""
    dtype = str(node.attrs.get("dtype"))
    if dtype == "int20" and node.op not in ("add", "requantize"):
        clip_wide(builder, node.output)
    elif STORAGE.get(dtype) == "uint8":
        levels = builder.constant(("levels", dtype), lambda: clipped_levels(dtype))
        place = builder.locate(node.output)
        shape = builder.shape(node.output) or (1,)
        numbers = [math.prod(shape[:-1]), shape[-1], DTYPE_CODES["uint8"]]
        builder.step("table", [place, levels, place], numbers)


def _integer(node: Node, key: str) -> int:
    return cast(int, node.attrs[key])


def _dtype_code(builder: Builder, name: str) -> int:
    return DTYPE_CODES[builder.dtype(name)]


def _result_code(builder: Builder, node: Node) -> int:
    """The code of a result's type; 20 bits have one of their own."""
    return (
        DTYPE_CODES["int20"]
        if node.attrs["dtype"] == "int20"
        else _dtype_code(builder, node.output)
    )


def _row_operand(
    builder: Builder, name: str, target: tuple[int, ...]
) -> tuple[Location, list[int]]:
    """An operand of a row-wise kernel: its place and the strides of its leading dimensions."""
    shape = builder.shape(name)
    if shape[-1:] == target[-1:]:
        return builder.locate(name), broadcast_strides(shape, target)[:-1]
    return materialised(builder, name, target), strides_of(target)[:-1]


def _rescale(builder: Builder, node: Node) -> None:
    """``requantize`` and ``add``."""
    count = 2 if node.op == "add" else 1
    values, multipliers, offset = node.inputs[:count], node.inputs[count:-1], node.inputs[-1]
    target = builder.shape(node.output) or (1,)
    operands = [_row_operand(builder, name, target) for name in values]
    types = [_dtype_code(builder, name) for name in (values[0], values[-1])]
    types.append(_result_code(builder, node))
    parameters = [_channel_constant(builder, name, target[-1]) for name in multipliers]
    places = [operands[0][0], operands[1][0] if count == 2 else None, builder.define(node.output)]
    places += [parameters[0], parameters[1] if count == 2 else None]
    places.append(_lane_constant(builder, offset, target[-1]))
    steps = walk(target[:-1], operands[0][1], operands[-1][1])
    numbers = [math.prod(target[:-1]), target[-1], _integer(node, "shift"), *types, *steps]
    builder.step("rescale", places, numbers)


def _multiply(builder: Builder, node: Node) -> None:
    target = builder.shape(node.output) or (1,)
    (a, a_steps), (b, b_steps) = (_row_operand(builder, name, target) for name in node.inputs[:2])
    multiplier = _channel_constant(builder, node.inputs[2], target[-1])
    offset = _lane_constant(builder, node.inputs[3], target[-1])
    numbers = [math.prod(target[:-1]), target[-1], _integer(node, "shift")]
    numbers += [_dtype_code(builder, name) for name in (*node.inputs[:2], node.output)]
    numbers += [_integer(node, key) for key in ("a_zero", "b_zero")]
    numbers += walk(target[:-1], a_steps, b_steps)
    builder.step("multiply", [a, b, builder.define(node.output), multiplier, offset], numbers)


def _channel_constant(builder: Builder, name: str, count: int) -> Location:
    values, lanes = builder.graph.constants[name], builder.machine.lanes
    return builder.constant(("channels", name, count), lambda: channels(values, count, lanes))


def _lane_constant(builder: Builder, name: str, count: int) -> Location:
    values, machine = builder.graph.constants[name], builder.machine
    return builder.constant(
        ("lanes", name, count),
        lambda: wide_channels(values, count, machine.lanes, machine.split),
    )


def _table(builder: Builder, node: Node) -> None:
    shape = builder.shape(node.output) or (1,)
    values = builder.graph.constants[node.inputs[1]]
    entries = builder.constant(("table", node.inputs[1]), lambda: full_table(values))
    numbers = [math.prod(shape[:-1]), shape[-1], _dtype_code(builder, node.output)]
    builder.step(
        "table", [builder.locate(node.inputs[0]), entries, builder.define(node.output)], numbers
    )


def _shift_gelu(builder: Builder, node: Node) -> None:
    """The largest byte of a row chooses one of 256 tables."""
    shape = builder.shape(node.output)
    attrs = tuple(sorted(node.attrs.items()))
    tables = builder.constant(("row tables", attrs), lambda: row_tables(node))
    numbers = [math.prod(shape[:-1]), shape[-1], _dtype_code(builder, node.output)]
    x, out = builder.locate(node.inputs[0]), builder.define(node.output)
    builder.step("row_table", [x, tables, out], numbers)


def _norm(builder: Builder, node: Node) -> None:
    shape = builder.shape(node.inputs[0])
    wide = node.op.endswith("20")
    bits, reciprocal = norm_constants(_integer(node, "channels"), 20 if wide else 16)
    numbers = [math.prod(shape[:-1]), shape[-1], _integer(node, "eps"), _integer(node, "shift")]
    kind = _NORM_KINDS[node.op.removesuffix("20")]
    numbers += [bits, reciprocal, kind, cast(int, node.attrs.get("start", 0))]
    numbers += [DTYPE_CODES["int32" if wide else "int16"], _dtype_code(builder, node.output)]
    gain = _channel_constant(builder, node.inputs[1], shape[-1])
    offset = _lane_constant(builder, node.inputs[2], shape[-1])
    x = builder.locate(node.inputs[0]) if wide else as_int16(builder, node.inputs[0])
    builder.step("norm", [x, gain, offset, builder.define(node.output)], numbers)


def _attention(builder: Builder, node: Node) -> None:
    *lead, queries, width = builder.shape(node.inputs[0])
    *_, keys, wide = builder.shape(node.inputs[2])
    if node.op == "attention" and queries <= FEW_QUERIES and wide == width:
        attend(builder, node)
        return
    batch, heads = math.prod(lead), _integer(node, "heads")
    sizes = keys, width // heads, wide // heads
    whole = builder.machine.threads == 1 or batch * heads >= (
        HEADS_PER_THREAD * builder.machine.threads
    )
    block = max(1, queries) if whole else QUERY_BLOCK
    numbers = [block, batch, heads, queries, *sizes, width, width, wide]
    numbers += [queries * width, keys * width, keys * wide]
    constants = ("q_zero", "k_zero", "v_zero", "limit", "multiplier", "exp_shift", "gain", "offset")
    numbers += [_integer(node, key) for key in (*constants, "shift")]
    numbers.append(_dtype_code(builder, node.output))
    unit, bits = (cast(int, node.attrs.get(key, 16)) for key in ("unit", "bits"))
    numbers += [_SOFTMAX_KINDS[node.op], unit, bits]
    biased, extra = node.op.startswith("biased_"), node.inputs[3:]
    numbers += _bias_strides(builder.shape(extra[0])) if biased else [1, 0, 0, 0]
    packed = 0 if whole else native.attention_packed_bytes(*sizes) * batch * heads
    places: list[Location | None] = [builder.locate(name) for name in node.inputs[:3]]
    places.append(builder.locate(extra[0]) if extra and not biased else None)
    places += [builder.define(node.output), builder.scratch(packed) if packed else None]
    places.append(_bounded_bias(builder, extra[0]) if biased else None)
    if packed:
        builder.step("attention_pack", places, numbers)
    builder.step("attention", places, numbers)


def _bias_strides(shape: tuple[int, ...]) -> list[int]:
    """Number of windows, and elements between windows, heads and queries; 0 repeats."""
    steps = [0 if size == 1 else step for size, step in zip(shape, strides_of(shape), strict=True)]
    return [shape[0], *steps[:3]]


def _bounded_bias(builder: Builder, name: str) -> Location:
    values = builder.graph.constants[name]
    return builder.constant(("bias", name), lambda: np.clip(values, -BIAS_LIMIT, BIAS_LIMIT))


def _embedding(builder: Builder, node: Node) -> None:
    ids, rows, multiplier = node.inputs
    vocabulary, width = builder.shape(rows)
    tokens = math.prod(builder.shape(ids))
    numbers = [tokens, width, vocabulary, _integer(node, "shift")]
    numbers += [_dtype_code(builder, ids), _dtype_code(builder, node.output)]
    places: list[Location | None] = [builder.locate(name) for name in (ids, rows, multiplier)]
    builder.step("embedding", [*places, builder.define(node.output)], numbers)


def _positions(builder: Builder, node: Node) -> None:
    builder.alias(node.output, node.inputs[1])


def _reduce(builder: Builder, node: Node) -> None:
    """``sum``, ``max`` and ``argmax``."""
    shape = builder.shape(node.inputs[0])
    axis = _integer(node, "axis") % len(shape)
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    numbers = [outer, shape[axis], inner, _dtype_code(builder, node.inputs[0])]
    x = builder.locate(node.inputs[0])
    builder.step(node.op, [x, builder.define(node.output)], numbers)


def _patches(builder: Builder, node: Node) -> None:
    batch, out_h, *_ = builder.shape(node.output)
    image, numbers = window_operands(builder, node)
    places = [*image, builder.define(node.output)]
    builder.step("patches", [*places], [batch * out_h, *numbers])


def _unpack4(builder: Builder, node: Node) -> None:
    """Nothing: its readers decide in what form they want the weight (``Builder.stored``)."""


def _reshape(builder: Builder, node: Node) -> None:
    builder.alias(node.output, node.inputs[0])


def _transpose(builder: Builder, node: Node) -> None:
    source, target = builder.shape(node.inputs[0]), builder.shape(node.output)
    strides = strides_of(source)
    perm = [p % len(source) for p in cast(tuple[int, ...], node.attrs["perm"])]
    item = ITEM_SIZE[builder.dtype(node.output)]
    x = builder.locate(node.inputs[0])
    moved = [strides[p] for p in perm]
    copy_step(builder, x, builder.define(node.output), item, target, moved, strides_of(target))


def _slice(builder: Builder, node: Node) -> None:
    source, target = builder.shape(node.inputs[0]), builder.shape(node.output)
    axis = _integer(node, "axis") % len(source)
    item = ITEM_SIZE[builder.dtype(node.output)]
    skipped = _integer(node, "start") * strides_of(source)[axis] * item
    if math.prod(target[:axis]) == 1:
        builder.alias(node.output, node.inputs[0], skipped)
        return
    x = builder.locate(node.inputs[0])
    start = Location(x.storage, x.offset + skipped)
    out = builder.define(node.output)
    copy_step(builder, start, out, item, target, strides_of(source), strides_of(target))


def _concat(builder: Builder, node: Node) -> None:
    target = builder.shape(node.output)
    axis = _integer(node, "axis") % len(target)
    strides, item = strides_of(target), ITEM_SIZE[builder.dtype(node.output)]
    out = builder.define(node.output)
    first = builder.shape(node.inputs[0])
    if first[axis] == 1 and len(set(node.inputs)) == 1:  # how an expanded dimension is written
        x = builder.locate(node.inputs[0])
        copy_step(builder, x, out, item, target, broadcast_strides(first, target), strides)
        return
    start = 0
    for name in node.inputs:
        shape = builder.shape(name)
        there = Location(out.storage, out.offset + start * strides[axis] * item)
        copy_step(builder, builder.locate(name), there, item, shape, strides_of(shape), strides)
        start += shape[axis]


def _repeat_batch(builder: Builder, node: Node) -> None:
    target = builder.shape(node.output)
    if target[0] == 1:
        builder.alias(node.output, node.inputs[0])
        return
    item = ITEM_SIZE[builder.dtype(node.output)]
    strides = broadcast_strides(builder.shape(node.inputs[0]), target)
    x = builder.locate(node.inputs[0])
    copy_step(builder, x, builder.define(node.output), item, target, strides, strides_of(target))


_NORM_KINDS = {"rms_norm": 0, "layer_norm": 1, "newton_norm": 2}

_SOFTMAX_KINDS = {
    f"{prefix}{name}": kind
    for kind, name in enumerate(
        ("attention", "shift_attention", "quadratic_attention", "log2_attention")
    )
    for prefix in ("", "biased_")
}

_EMITTERS: dict[str, Callable[[Builder, Node], None]] = {
    "requantize": _rescale,
    "add": _rescale,
    "multiply": _multiply,
    "table": _table,
    "layer_norm": _norm,
    "rms_norm": _norm,
    **dict.fromkeys(("layer_norm20", "rms_norm20"), _norm),
    "newton_norm": _norm,
    "shift_gelu": _shift_gelu,
    **dict.fromkeys(_SOFTMAX_KINDS, _attention),
    "embedding": _embedding,
    "positions": _positions,
    "sum": _reduce,
    "argmax": _reduce,
    "max": _reduce,
    "matmul": emit_matmul,
    "depthwise": emit_depthwise,
    "softmax": emit_softmax,
    "patches": _patches,
    "unpack4": _unpack4,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "repeat_batch": _repeat_batch,
    **SEQUENCE_EMITTERS,
}
