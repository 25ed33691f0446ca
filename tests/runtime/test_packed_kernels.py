"""Products with weights of 4 bits: every size and epilogue, with operands at their extremes."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.ir.graph import Array, Graph
from intformer.reference import interpret
from intformer.runtime import Session, describe
from intformer.runtime.forms import NIBBLE_LEVELS, Form, fits_nibbles
from intformer.runtime.packing import pack_nibbles
from programs import Builder

SHAPES = [(1, 32, 8), (1, 384, 70), (2, 27, 5), (3, 128, 33), (5, 75, 16), (8, 64, 40)]
SHAPES += [(9, 100, 129), (50, 96, 17), (97, 200, 200)]


def graph_of(shape: tuple[int, int, int], group: int, finish: str) -> tuple[Graph, Array]:
    """All weights -8 or 7 with the largest multipliers in the first columns, activations at 255."""
    rows, depth, columns = shape
    build = Builder(depth)
    x = build.input("x", "uint8", ("N", depth))
    groups = -(-depth // group)
    packed = build.rng.integers(0, 256, (columns, groups, group // 2)).astype(np.uint8)
    factors = build.rng.integers(-15, 16, (columns, groups)).astype(np.int8)
    for column, (level, factor) in enumerate([(0x00, 15), (0xFF, 15), (0x00, -15), (0xF0, 15)]):
        packed[column], factors[column] = level, factor
    operands = build.constant("packed", packed, "uint8"), build.constant("factors", factors, "int8")
    weight = build.node("unpack4", *operands, rows=depth)
    bias = build.random("b", "int32", (columns,), -(2**20), 2**20)
    acc = build.node("linear", x, weight, bias, x_zero=depth % 256)
    if finish == "residual":
        stream = build.random("r", "int16", (1, columns), -32768, 32767)
        acc = build.add(acc, stream, (0.1, 1.5), "add")
    elif finish != "raw":
        acc = build.requantize(acc, 1 / (100 * depth), "uint8", "q", zero=128)
    if finish == "table":
        acc = build.gelu(acc, "gelu")
    build.output("y", acc)
    levels = build.rng.integers(0, 256, (rows, depth), dtype=np.uint8)
    levels[0], levels[-1, ::2] = 255, 255
    return build.graph, levels


@pytest.mark.parametrize("finish", ["raw", "uint8", "table", "residual"])
@pytest.mark.parametrize("group", [32, 64, 8])
def test_product_equals_reference(group: int, finish: str) -> None:
    for shape in SHAPES:
        graph, x = graph_of(shape, group, finish)
        for threads in (1, 3):
            actual = Session(graph, threads=threads).run({"x": x})["y"]
            np.testing.assert_array_equal(actual, interpret(graph, {"x": x})["y"])


@pytest.mark.parametrize("group", [28, 200])
def test_one_group_over_any_depth(group: int) -> None:
    for depth in (group - 1, group):
        for rows in (1, 12):
            graph, x = graph_of((rows, depth, 21), group, "raw")
            actual = Session(graph, threads=1).run({"x": x})["y"]
            np.testing.assert_array_equal(actual, interpret(graph, {"x": x})["y"])


def test_results_do_not_depend_on_how_many_rows_there_are() -> None:
    """Few rows and many take different kernels."""
    graph, x = graph_of((64, 256, 100), 32, "raw")
    session = Session(graph, threads=2)
    together = session.run({"x": x})["y"]
    for rows in (1, 3, 4, 5, 8, 9):
        np.testing.assert_array_equal(session.run({"x": x[:rows]})["y"], together[:rows])


def test_a_session_keeps_four_bits() -> None:
    if describe()["level"] not in NIBBLE_LEVELS:
        pytest.skip("this level expands weights of 4 bits when it plans")
    graph, x = graph_of((3, 512, 256), 32, "raw")
    session = Session(graph, threads=1)
    session.run({"x": x})
    session.run({"x": np.repeat(x, 40, 0)})
    weights = 512 * 256
    assert sum(array.nbytes for array in session._constants.arrays) < 0.56 * weights


def test_which_weights_stay_packed() -> None:
    for level in NIBBLE_LEVELS:
        assert fits_nibbles(level, "linear", (8, 3, 16))
        assert fits_nibbles(level, "linear", (8, 1, 14))
        assert not fits_nibbles(level, "linear", (8, 3, 8))
        assert not fits_nibbles(level, "linear16", (8, 3, 16))
    assert not fits_nibbles("dotprod", "linear", (8, 3, 16))


def test_panels_hold_blocks_then_multipliers() -> None:
    packed = np.arange(2 * 2 * 16, dtype=np.uint8).reshape(2, 2, 16)
    multiplier = np.array([[3, -4], [5, -6]], np.int8)
    (panel,) = pack_nibbles(packed, multiplier, 40, 4).reshape(1, -1)
    assert panel.size == 144 and (panel[2 * 4 * 17 :] == 0).all()
    blocks, factors = panel[:128].reshape(2, 4, 4, 4), panel[128:136].view(np.int8).reshape(2, 4)
    np.testing.assert_array_equal(factors, [[3, 5, 0, 0], [-4, -6, 0, 0]])
    rows_0_to_3, rows_4_to_7 = blocks[0, 0, 0] & 15, blocks[0, 0, 0] >> 4
    np.testing.assert_array_equal(rows_0_to_3, packed[0, 0, :4] & 15)
    np.testing.assert_array_equal(rows_4_to_7, packed[0, 0, 4:8] & 15)
    assert (blocks[1, 1:] == 0x88).all(), "rows from 40 on weigh nothing"
    assert Form.NIBBLES == 10
