"""Native steps for linear layers with their epilogues."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from intformer.arith import STORAGE
from intformer.ir.graph import Array, Node
from intformer.reference.unpack import unpacked_sums
from intformer.runtime.blocks import block_sizes
from intformer.runtime.forms import CENTRED, FEW_ROWS, LAYOUTS, Form, choose_form, fits_nibbles
from intformer.runtime.fuse import Group
from intformer.runtime.memory import Location
from intformer.runtime.packing import (
    channels,
    clipped_levels,
    folded_offset,
    full_table,
    pack_nibbles,
    pack_weight,
    wide_channels,
)
from intformer.runtime.plan import DTYPE_CODES, Builder

RAW, REQUANTIZE, RESIDUAL = 0, 1, 2
"""The native ``Finish``."""

WHOLE_SHIFT = 32
"""The shift of which kernels take the upper half of a product."""


def emit_linear(builder: Builder, group: Group) -> None:
    """One ``gemm`` step for a linear layer and what is fused to it."""
    linear = group.head
    *lead, depth = builder.shape(linear.inputs[0])
    rows, columns = math.prod(lead), builder.shape(linear.output)[-1]
    b, form = _packed(builder, linear, rows)
    windows = group.windows is not None
    blocks = block_sizes(builder.machine, form, rows, columns, depth, windows)
    numbers = [*blocks, rows, columns, depth, form]
    numbers += [DTYPE_CODES[builder.dtype(linear.inputs[0])], depth]
    finish, parameters = _epilogue(builder, group, columns)
    if group.windows is None:
        places = [builder.locate(linear.inputs[0]), b, builder.define(group.output), *parameters]
        builder.step("gemm", places, [*numbers, *finish])
        return
    image, geometry = window_operands(builder, group.windows)
    places = [image[0], b, builder.define(group.output), *parameters, *image]
    builder.step("window_gemm", places, [*numbers, *finish, *geometry])


def window_operands(builder: Builder, node: Node) -> tuple[list[Location], list[int]]:
    """Places (image and padding levels) and numbers of the native ``Patches``."""
    _, height, width, depth = builder.shape(node.inputs[0])
    _, out_h, out_w, _ = builder.shape(node.output)
    pairs = [cast(tuple[int, int], node.attrs[k]) for k in ("kernel", "stride", "padding")]
    pad = np.broadcast_to(builder.graph.constants[node.inputs[1]], depth)
    level = builder.constant(("pad", node.inputs[1], depth), lambda: pad)
    numbers = [height, width, depth, *(v for pair in pairs for v in pair), out_h, out_w]
    return [builder.locate(node.inputs[0]), level], numbers


def _packed(builder: Builder, linear: Node, rows: int) -> tuple[Location, Form]:
    """The packed weight and the native ``Form`` of the product."""
    name = linear.inputs[1]
    if linear.attrs.get("x_zero"):
        _column_sums(builder, name)  # now, while packing reads the weight anyway
    if name in builder.packed and _stays_packed(builder, linear):
        return _nibbles(builder, builder.packed[name]), Form.NIBBLES
    return packed_weight(builder, name, linear.op, rows)


def _stays_packed(builder: Builder, linear: Node) -> bool:
    """Whether products read a weight of 4 bits as it is stored."""
    stored = builder.graph.types[builder.packed[linear.inputs[1]].inputs[0]]
    return fits_nibbles(builder.machine.level, linear.op, stored.shape)


def _form(builder: Builder, name: str, op: str, rows: int) -> Form:
    """The form of products ``op`` of so many rows with the int8 weight ``name``."""
    count = FEW_ROWS if rows <= FEW_ROWS else FEW_ROWS + 1
    return builder.constants.note(
        ("form", name, op, count),
        lambda: choose_form(builder.machine.level, op, builder.stored(name), count),
    )


def packed_weight(builder: Builder, name: str, op: str, rows: int) -> tuple[Location, Form]:
    """The int8 weight of products ``op`` as their kernel reads it, and the form of these."""
    form = _form(builder, name, op, rows)
    lanes, layout = builder.machine.lanes, LAYOUTS.get(form)
    key = ("weight", name, layout)
    if layout is None:
        return builder.constant(key, lambda: builder.stored(name)), form
    return builder.constant(key, lambda: pack_weight(builder.stored(name), lanes, layout)), form


def _nibbles(builder: Builder, node: Node) -> Location:
    """A weight that stays in 4 bits."""
    packed, multiplier = (builder.graph.constants[name] for name in node.inputs)
    rows, lanes = cast(int, node.attrs["rows"]), builder.machine.lanes
    key = ("nibbles", node.output)
    return builder.constant(key, lambda: pack_nibbles(packed, multiplier, rows, lanes))


def _epilogue(
    builder: Builder, group: Group, columns: int
) -> tuple[list[int], list[Location | None]]:
    """Numbers and places of the native ``Epilogue``, the output's place excepted."""
    add, requantize = group.follower("add"), group.follower("requantize")
    if add is not None:
        return _residual(builder, group, add, columns)
    if requantize is not None:
        return _requantized(builder, group, requantize, columns)
    lanes = builder.machine.lanes
    place = builder.constant(
        ("bias", *_bias_key(builder, group), columns),
        lambda: channels(_bias(builder, group).astype(np.int32), columns, lanes),
    )
    out = DTYPE_CODES["int32"]
    return [RAW, out, columns, 1, 0, 1, 0], [place, None, None, None, None, None]


def _requantized(
    builder: Builder, group: Group, node: Node, columns: int
) -> tuple[list[int], list[Location | None]]:
    shift = cast(int, node.attrs["shift"])
    lift = lift_of(builder.graph.constants[node.inputs[1]], shift)
    multiplier = _multiplier(builder, node.inputs[1], columns, lift)
    offset = _offset(builder, group, node.inputs[1], node.inputs[2], columns, lift)
    entries, code = _table(builder, group, cast(str, node.attrs["dtype"]))
    out = DTYPE_CODES[builder.dtype(node.output)]
    numbers = [REQUANTIZE, out, columns, shift + lift, 0, 1, code]
    return numbers, [None, multiplier, offset, None, None, entries]


def _table(builder: Builder, group: Group, dtype: str) -> tuple[Location | None, int]:
    """The table after a requantize and its element type; fewer than 256 levels need one, too."""
    node = group.follower("table")
    if node is None and dtype not in STORAGE:
        return None, 0
    levels = clipped_levels(dtype if dtype in STORAGE else "uint8")
    entries = levels if node is None else builder.graph.constants[node.inputs[1]]
    name = node.inputs[1] if node else ""
    place = builder.constant(("table", name, dtype), lambda: full_table(entries)[levels])
    return place, DTYPE_CODES[str(entries.dtype)]


def _residual(
    builder: Builder, group: Group, node: Node, columns: int
) -> tuple[list[int], list[Location | None]]:
    assert group.residual is not None
    names = node.inputs[2:4]
    own, other = names[::-1] if group.swapped else names
    multiplier = _multiplier(builder, own, columns)
    residual_multiplier = _multiplier(builder, other, columns)
    offset = _offset(builder, group, own, node.inputs[4], columns)
    rows = math.prod(builder.shape(group.residual)[:-1])
    out = DTYPE_CODES[builder.dtype(node.output)]
    numbers = [RESIDUAL, out, columns, cast(int, node.attrs["shift"]), columns, rows, 0]
    residual = builder.locate(group.residual)
    return numbers, [None, multiplier, offset, residual, residual_multiplier, None]


def lift_of(multiplier: Array, shift: int) -> int:
    """By how many bits multiplier, offset and shift can be raised, so that the shift is 32.

    The result is then the upper half of a 64-bit value, which costs no shift. It is the same: it
    fits 32 bits, as the verifier has shown, so the raised value fits 64.
    """
    lift = WHOLE_SHIFT - shift
    largest = int(np.abs(multiplier.astype(np.int64)).max())
    return lift if lift > 0 and largest << lift < 2**31 else 0


def _multiplier(builder: Builder, name: str, columns: int, lift: int = 0) -> Location:
    values, lanes = builder.graph.constants[name], builder.machine.lanes
    key = ("channels", name, columns, *([lift] if lift else []))
    return builder.constant(key, lambda: channels(values << lift, columns, lanes))


def _offset(
    builder: Builder, group: Group, multiplier: str, offset: str, columns: int, lift: int = 0
) -> Location:
    """The epilogue's offset with the bias folded in."""
    machine, constants = builder.machine, builder.graph.constants

    def make() -> Array:
        folded = folded_offset(constants[offset], _bias(builder, group), constants[multiplier])
        return wide_channels(folded << lift, columns, machine.lanes, machine.split)

    key = ("offset", *_bias_key(builder, group), multiplier, offset, columns, lift)
    return builder.constant(key, make)


def _bias_key(builder: Builder, group: Group) -> tuple[object, ...]:
    """What ``_bias`` depends on."""
    linear = group.head
    return (*linear.inputs[1:], linear.attrs.get("x_zero", 0), _is_centred(builder, group))


def _bias(builder: Builder, group: Group) -> Array:
    """The bias that belongs to what the product form computes: Σ x·w, or Σ (x - 128)·w.

    int64 [O]; it may pass 32 bits and is right modulo 2^32.
    """
    _, weight, bias = group.head.inputs
    own = builder.stored(bias).astype(np.int64)
    shift = 128 if _is_centred(builder, group) else 0
    shift -= cast(int, group.head.attrs.get("x_zero", 0))
    return own + shift * _column_sums(builder, weight) if shift else own


def _is_centred(builder: Builder, group: Group) -> bool:
    """Whether the product computes with x - 128."""
    values, weight, _ = group.head.inputs
    if weight in builder.packed and _stays_packed(builder, group.head):
        return False
    rows = math.prod(builder.shape(values)[:-1])
    return _form(builder, weight, group.head.op, rows) in CENTRED


def _column_sums(builder: Builder, weight: str) -> Array:
    """Σ_k w_ko, int64 [O]."""

    def make() -> Array:
        if weight not in builder.packed:
            return np.asarray(builder.stored(weight).sum(axis=0, dtype=np.int64))
        node = builder.packed[weight]
        packed, multiplier = (builder.graph.constants[name] for name in node.inputs)
        return unpacked_sums(packed, multiplier, cast(int, node.attrs["rows"]))

    return builder.constants.note(("sums", weight), make)
