"""The softmax by itself: rows of any length, extremes, and every type of result."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder, attention_attributes

OF_ATTENTION_ALONE = ("heads", "q_zero", "k_zero", "v_zero")
DIVISIONS = {
    "uint8": {"gain": 255 << 24, "offset": 1 << 23, "shift": 24},
    "int8": {"gain": 255 << 20, "offset": (-128 << 20) + (1 << 19), "shift": 20},
    "int16": {"gain": 1 << 31, "offset": 1 << 15, "shift": 16},
    "int32": {"gain": 1 << 46, "offset": 1 << 30, "shift": 31},  # a quotient beyond int32
}
"""Results that use the range of their type."""
FEW_SCORES = (-(2**15), -1, 0, 1, 2**15 - 1)


def _rows(columns: int) -> NDArray[np.int16]:
    """Random rows, close scores, equal scores, and those that lie as far apart as they can."""
    random = np.random.default_rng(columns)
    rows = random.integers(-(2**15), 2**15, (7, columns), dtype=np.int16)
    rows[1] = random.integers(-300, 300, columns)
    rows[2] = -(2**15)
    rows[3] = 2**15 - 1
    rows[4] = random.choice(FEW_SCORES, columns)
    rows[5], rows[5, -1] = -(2**15), -(2**15) + 1  # the largest is the last, and below zero
    rows[6], rows[6, 0] = random.integers(-9000, -8000, columns), -7000
    return rows


@pytest.mark.parametrize("columns", [1, 2, 7, 8, 9, 15, 16, 17, 33, 48, 197, 260])
@pytest.mark.parametrize("dtype", DIVISIONS)
def test_softmax_equals_reference(columns: int, dtype: str) -> None:
    build = Builder(limits={"N": 7})
    attributes = {**attention_attributes(1, dtype), **DIVISIONS[dtype]}
    for name in OF_ATTENTION_ALONE:
        del attributes[name]
    x = build.input("x", "int16", ("N", columns))
    build.output("y", build.node("softmax", x, **attributes))
    inputs = {"x": _rows(columns)}
    wanted = interpret(build.graph, inputs)["y"]
    assert columns == 1 or np.ptp(wanted.astype(np.int64)) > 10
    for threads in (1, 2):
        actual = Session(build.graph, threads=threads).run(inputs)["y"]
        np.testing.assert_array_equal(actual, wanted)
