"""Native steps for linear layers with their epilogues."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from intformer.arith import STORAGE
from intformer.ir.graph import Array, Node
from intformer.reference.unpack import unpacked_sums
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

BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_BYTES = 240, 384, 2**18
"""The largest block of a product that one thread works on at a time: its part of A stays in the
second-level cache (rows times depth; AVX2 fetches it so early that it need not), and its part of B
is read for all rows of the block."""

MOST_ROWS = 192
"""Rows of a block where weights are unpacked for all of them."""

ROW_STEP, COLUMN_STEP = 24, 192
"""Multiples of every tile."""

SMALL_ROW_STEP, LEAST_ROW_STEP, SMALL_COLUMN_STEP = 12, 4, 16
"""Multiples of all tiles of AVX2, and of those of most forms."""

UNITS_PER_THREAD, EVEN_UNITS_PER_THREAD = 4, 2
"""Blocks per thread that even out their different speeds, and their different sizes if need be."""


def emit_linear(builder: Builder, group: Group) -> None:
    """One ``gemm`` step for a linear layer and what is fused to it."""
    linear = group.head
    *lead, depth = builder.shape(linear.inputs[0])
    rows, columns = math.prod(lead), builder.shape(linear.output)[-1]
    b, form = _packed(builder, linear, rows)
    level, threads = builder.machine.level, builder.machine.threads
    most = _most_rows(level, depth, form)
    apart = threads if form is Form.WIDE else 1
    if group.windows:
        apart = EVEN_UNITS_PER_THREAD * threads
    blocks = block_sizes(level, rows, columns, threads, most, apart)
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


def _most_rows(level: str, depth: int, form: int) -> int:
    """Rows of A in a block: as many as fit the cache together where that matters."""
    if level == "avx2":
        return BLOCK_ROWS
    if form is Form.NIBBLES:
        return MOST_ROWS
    return max(ROW_STEP, min(BLOCK_ROWS, BLOCK_BYTES // depth // ROW_STEP * ROW_STEP))


def block_sizes(
    level: str, rows: int, columns: int, threads: int, most: int = BLOCK_ROWS, apart: int = 1
) -> tuple[int, int]:
    """Rows and columns of a block: as large as allowed, while all threads get enough of them.

    One thread takes all columns at once. The tiles of AVX2 are so small that few blocks of even
    size serve best, of all rows if ``apart`` is 1. Where a block copies its rows, or gathers them,
    they are split into so many parts at least, so that little is copied twice.
    """
    if threads == 1:
        return _even(rows, most, ROW_STEP), _even(columns, columns, COLUMN_STEP)
    if level == "avx2" and rows > ROW_STEP:
        units = EVEN_UNITS_PER_THREAD * threads
        step = SMALL_ROW_STEP if apart == 1 else LEAST_ROW_STEP
        down = _even(rows, min(most, -(-rows // apart)), step)
        least = 1 if apart >= units else EVEN_UNITS_PER_THREAD
        parts = max(least, -(-units // -(-rows // down)))
        return down, _even(columns, -(-columns // parts), SMALL_COLUMN_STEP)
    for across in (BLOCK_COLUMNS, COLUMN_STEP):
        for high in range(most, 0, -ROW_STEP):
            down = _even(rows, high, ROW_STEP)
            units = -(-rows // down) * -(-columns // across)
            if units >= UNITS_PER_THREAD * threads:
                return down, across
    return ROW_STEP, COLUMN_STEP


def _even(size: int, largest: int, step: int) -> int:
    """A multiple of ``step``, up to ``largest``, that splits ``size`` into about equal parts."""
    parts = -(-size // largest)
    return -(-size // (parts * step)) * step


def _packed(builder: Builder, linear: Node, rows: int) -> tuple[Location, int]:
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
    key = ("weight", name, form)
    if form is Form.PLAIN:
        return builder.constant(key, lambda: builder.stored(name)), form
    lanes, layout = builder.machine.lanes, LAYOUTS[form]
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
