"""Products of every form and size, with operands at their extremes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from intformer.ir.graph import Array, Attribute, Graph
from intformer.ir.lanes import LANE_GROUPS, in_lane_order, safe_group
from intformer.reference import interpret
from intformer.runtime import Session
from intformer.runtime.blocks import block_sizes
from intformer.runtime.emit_linear import lift_of
from intformer.runtime.forms import FEW_ROWS, LAYOUTS, Form, choose_form
from intformer.runtime.fuse import fuse
from intformer.runtime.packing import pack_weight
from intformer.runtime.plan import Machine
from programs import Builder

SHAPES = [(1, 4, 8), (1, 384, 10), (5, 17, 3), (13, 64, 70), (50, 96, 129), (97, 30, 200)]
SHAPES += [(41, 397, 40), (62, 780, 72)]  # depths that take several tables of sums
KINDS = {"any": Form.WIDE, "symmetric": Form.SIGN, 2: Form.PAIRS2, 4: Form.PAIRS4, 8: Form.PAIRS8}


def weights(kind: str | int, rows: int, columns: int, rng: np.random.Generator) -> Array:
    """Weights that use all the room of their kind; the first three columns reach the limits."""
    if not isinstance(kind, int):
        low = -128 if kind == "any" else -127
        weight = rng.integers(low, 128, (rows, columns))
        weight[:, 0], weight[:, 1] = low, 127
        return weight.astype(np.int8)
    share = 128 // kind
    weight = rng.integers(-share, share + 1, (rows, columns))
    weight[:, 0], weight[:, 1] = -share, min(share, 127)
    weight[::2, 2], weight[1::2, 2] = min(2 * share, 127), -2 * share
    return weight.astype(np.int8)


def levels(rows: int, depth: int, rng: np.random.Generator) -> Array:
    x = rng.integers(0, 256, (rows, depth), dtype=np.uint8)
    x[0], x[-1, ::2] = 255, 255
    x[1:3] = np.where((np.arange(depth) + np.arange(1, min(rows, 3))[:, None]) % 2, 0, 255)
    return x


def graph_of(
    kind: str | int, shape: tuple[int, int, int], finish: str, wide: bool = False
) -> tuple[Graph, Array]:
    """``wide``: the result lies in the upper half of 64 bits, which has a faster way."""
    rows, depth, columns = shape
    build = Builder(depth)
    x = build.input("x", "uint8", ("N", depth))
    weight = build.constant("w", weights(kind, depth, columns, build.rng), "int8")
    bias = build.random("b", "int32", (columns,), -(2**20), 2**20)
    acc = build.node("linear", x, weight, bias, x_zero=depth % 256)
    if finish == "residual":
        stream = build.random("r", "int16", (1, columns), -32768, 32767)
        ratios, shift = ((0.1, 0.07), 34) if wide else ((0.1, 1.5), 18)
        acc = build.add(acc, stream, ratios, "add", shift)
    elif finish != "raw":
        zero, dtype = (128, "uint8") if finish == "table" else (0, finish)
        acc = build.requantize(acc, 1 / (100 * depth), dtype, "q", zero, 24 if wide else 16)
    if finish == "table":
        acc = build.gelu(acc, "gelu")
    build.output("y", acc)
    return build.graph, levels(rows, depth, build.rng)


@pytest.mark.parametrize("finish", ["raw", "uint8", "int8", "int16", "int32", "table", "residual"])
@pytest.mark.parametrize("kind", KINDS)
def test_product_equals_reference(kind: str | int, finish: str) -> None:
    for shape in SHAPES:
        graph, x = graph_of(kind, shape, finish)
        for threads in (1, 3):
            actual = Session(graph, threads=threads).run({"x": x})["y"]
            np.testing.assert_array_equal(actual, interpret(graph, {"x": x})["y"])


@pytest.mark.parametrize(
    ("multiplier", "shift", "raised"),
    [
        *((2**30 - 1, 31, 1), (-(2**30) + 1, 31, 1), (2**30, 31, 0), (-(2**30), 31, 0)),
        *((1, 1, 0), (1, 2, 30), (3, 2, 0), (2**10, 12, 20), (2**11, 12, 0)),
        *((5, 32, 0), (5, 40, 0), (0, 20, 12), (-(2**31), 31, 0)),
    ],
)
def test_multipliers_are_raised_as_far_as_they_fit(
    multiplier: int, shift: int, raised: int
) -> None:
    values = np.array([0, multiplier], np.int32)
    assert lift_of(values, shift) == raised
    assert int((values.astype(np.int64) << raised)[1]) == int((values << raised)[1])


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
@pytest.mark.parametrize("shift", [3, 17, 30, 31])
def test_raised_results_at_the_ends_of_32_bits(shift: int, dtype: str) -> None:
    """Offsets that bring results to both ends; odd numbers of rows; part of a tile."""
    build = Builder(shift)
    x = build.input("x", "uint8", ("N", 24))
    weight = build.random("w", "int8", (24, 35), -5, 6)
    bias = build.random("b", "int32", (35,), -1000, 1000)
    acc = build.node("linear", x, weight, bias, x_zero=7)
    most = min(2 ** (shift - 1) - 1, 2**20)
    multiplier = build.random("m", "int32", (35,), -most, most)
    room = (2**31 << shift) - 40000 * most
    ends = np.array([room - 1, -room, 0, 127 << shift, 255 << shift])
    offset = build.constant("o", np.resize(ends, 35), "int64")
    y = build.node("requantize", acc, multiplier, offset, shift=shift, dtype=dtype)
    build.output("y", y)
    assert lift_of(build.graph.constants[multiplier], shift) == 32 - shift
    for rows in (1, 5, 23, 60):
        inputs = {"x": levels(rows, 24, build.rng)}
        actual = Session(build.graph, threads=1).run(inputs)["y"]
        np.testing.assert_array_equal(actual, interpret(build.graph, inputs)["y"])


FENCE = 4096


@pytest.mark.parametrize("finish", ["uint8", "int8", "int16", "table", "residual"])
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_finished_late_equal_the_reference_and_stay_inside(
    kind: str | int, finish: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several tiles each way, with parts of tiles between whole ones."""
    fences: list[Array] = []

    def fenced(shape: tuple[int, ...], dtype: str) -> Array:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(size + 2 * FENCE, 0xA5, np.uint8)
        fences.extend((memory[:FENCE], memory[FENCE + size :]))
        return memory[FENCE : FENCE + size].view(dtype).reshape(shape)

    monkeypatch.setattr("intformer.runtime.session.aligned_empty", fenced)
    upper = [True] if finish != "residual" else [True, False]
    for shape, wide in product([(97, 36, 200), (53, 64, 256), (25, 7, 129)], upper):
        graph, x = graph_of(kind, shape, finish, wide)
        actual = Session(graph, threads=1).run({"x": x})["y"]
        np.testing.assert_array_equal(actual, interpret(graph, {"x": x})["y"])
    assert all((fence == 0xA5).all() for fence in fences)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("repeated", [False, True])
def test_residuals_of_every_row_and_of_few(kind: str | int, repeated: bool) -> None:
    """Residuals that begin again within a tile, and residuals of their own for all rows."""
    build = Builder(5)
    x = build.input("x", "uint8", ("N", 7, 36))
    stream = (
        build.random("r", "int16", (1, 7, 40), -32768, 32767)
        if repeated
        else build.input("r", "int16", ("N", 7, 40))
    )
    weight = build.constant("w", weights(kind, 36, 40, build.rng), "int8")
    bias = build.random("b", "int32", (40,), -(2**20), 2**20)
    acc = build.node("linear", x, weight, bias, x_zero=36)
    build.output("y", build.add(acc, stream, (0.1, 1.5), "add", 18))
    rng = np.random.default_rng(2)
    feed = {"x": levels(9 * 7, 36, rng).reshape(9, 7, 36)}
    if not repeated:
        feed["r"] = rng.integers(-32768, 32768, (9, 7, 40)).astype(np.int16)
    for threads in (1, 2):
        actual = Session(build.graph, threads=threads).run(feed)["y"]
        np.testing.assert_array_equal(actual, interpret(build.graph, feed)["y"])


@pytest.mark.parametrize(
    ("level", "form"),
    [("avx512vnni", Form.VNNI), *(("avx2", form) for form in (Form.PAIRS2, Form.WIDE, Form.SPLIT))],
)
@pytest.mark.parametrize("windows", [False, True])
def test_blocks_cover_a_product(level: str, form: Form, windows: bool) -> None:
    """All rows and columns, in whole tiles but for the edges, and a share for every thread."""
    even = form is Form.PAIRS2 and not windows
    row_tiles, column_tiles = (12 if even else 4, 16) if level == "avx2" else (24, 192)
    for rows, columns, threads in product((1, 25, 197, 1576), (8, 40, 576, 3072), (1, 2, 4)):
        machine = Machine(level, 8, True, threads)
        down, across = block_sizes(machine, form, rows, columns, 768, windows)
        assert down % row_tiles == 0
        assert across % column_tiles == 0
        parts = -(-rows // down) * -(-columns // across)
        assert threads == 1 or rows < 25 * threads or columns < 192 * threads or parts >= threads


@pytest.mark.parametrize("kind", KINDS)
def test_form_follows_from_the_weights(kind: str | int) -> None:
    weight = weights(kind, 64, 16, np.random.default_rng(0))
    assert choose_form("avx2", "linear", weight, rows=1) is KINDS[kind]
    many = KINDS[kind] if isinstance(kind, int) else Form.SPLIT
    assert choose_form("avx2", "linear", weight) is many
    assert choose_form("avx512vnni", "linear", weight) is Form.VNNI
    assert choose_form("avx2", "linear16", weight) is Form.WIDE
    assert choose_form("dotprod", "linear", weight) is Form.DOTPROD
    assert choose_form("i8mm", "linear", weight) is Form.I8MM
    assert choose_form("i8mm", "linear16", weight) is Form.SINGLE


def test_sums_of_weights_are_made_for_many_rows() -> None:
    for kind, few in (("symmetric", Form.SIGN), ("any", Form.WIDE)):
        weight = weights(kind, 64, 16, np.random.default_rng(0))
        assert choose_form("avx2", "linear", weight, FEW_ROWS) is few
        assert choose_form("avx2", "linear", weight, FEW_ROWS + 1) is Form.SPLIT


@pytest.mark.parametrize("kind", ["any", "symmetric"])
def test_one_session_uses_both_forms(kind: str) -> None:
    graph, x = graph_of(kind, (97, 36, 40), "uint8")
    session = Session(graph, threads=1)
    for rows in (97, 3, 97):
        feed = {"x": x[:rows]}
        np.testing.assert_array_equal(session.run(feed)["y"], interpret(graph, feed)["y"])


def test_forms_with_the_same_layout_share_packed_weights() -> None:
    assert LAYOUTS[Form.SIGN] == LAYOUTS[Form.SPLIT]
    graph, x = graph_of("symmetric", (97, 36, 40), "uint8")
    session = Session(graph, threads=1)
    for rows in (97, 3):
        session.run({"x": x[:rows]})
    assert [a.dtype for a in session._constants.arrays].count(np.dtype(np.int8)) == 1


def test_sums_of_centred_levels_that_could_overflow_are_not_used() -> None:
    weight = np.full((2**17, 1), 127, np.int8)
    assert choose_form("avx2", "linear", weight[1:], rows=1) is Form.SIGN
    assert choose_form("avx2", "linear", weight, rows=1) is Form.WIDE
    assert choose_form("dotprod", "linear", weight[1:]) is Form.DOTPROD
    assert choose_form("dotprod", "linear", weight) is Form.SINGLE


def test_safe_group_counts_lanes() -> None:
    weight = np.zeros((16, 3), np.int8)
    weight[[0, 1], 1] = 64
    assert safe_group(weight) == 8
    weight[[4, 2], 1] = 64, -127
    assert safe_group(weight) == 2
    weight[1, 1] = 65
    assert safe_group(weight) == 1


def test_weights_of_opposite_signs_do_not_add_up() -> None:
    weight = np.zeros((16, 3), np.int8)
    weight[[0, 1, 4, 5, 8, 9, 12, 13], 2] = 32, -32, 32, -32, 32, -32, 32, -32
    assert safe_group(weight) == 8
    weight[[0, 1], 2] = 127, -128
    assert safe_group(weight) == 2


@pytest.mark.parametrize("size", LANE_GROUPS)
def test_lane_order_is_how_weights_are_packed(size: int) -> None:
    """Packed as [4-row block][lanes][4]: lane j of a block takes bytes 2j and 2j + 1."""
    rows = np.arange(48)
    packed = pack_weight(rows[:, None].astype(np.int8), 1, LAYOUTS[Form.PAIRS8]).reshape(
        -1, size // 2, 2, 2
    )
    together = packed.transpose(0, 2, 1, 3).reshape(-1, size)
    expected = in_lane_order(rows[:, None]).reshape(-1, size)
    assert sorted(map(sorted, together)) == sorted(map(sorted, expected))


@pytest.mark.parametrize("kind", ["any", "symmetric", 8])
@pytest.mark.parametrize("flat", [False, True])
def test_windows_are_gathered_on_the_way(kind: str | int, flat: bool) -> None:
    """A convolution never writes its windows out: overlapping ones, with padding, in parts."""
    build = Builder(3)
    image = build.input("x", "uint8", ("N", 17, 14, 3))
    pad = build.constant("pad", [7, 255, 0], "uint8")
    sizes: dict[str, Attribute] = {"kernel": (3, 4), "stride": (2, 1), "padding": (1, 2)}
    rows = build.node("patches", image, pad, size=(17, 14), **sizes)
    if flat:
        rows = build.node("reshape", rows, shape=(0, 135, 36))
    weight = build.constant("w", weights(kind, 36, 40, build.rng), "int8")
    bias = build.random("b", "int32", (40,), -(2**20), 2**20)
    acc = build.node("linear", rows, weight, bias, x_zero=97)
    build.output("y", build.requantize(acc, 1 / 3000, "uint8", "q", 128))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 17, 14, 3), dtype=np.uint8)
    (group,) = fuse(build.graph)
    assert group.windows is not None
    for threads in (1, 3):
        actual = Session(build.graph, threads=threads).run({"x": pixels})["y"]
        np.testing.assert_array_equal(actual, interpret(build.graph, {"x": pixels})["y"])
