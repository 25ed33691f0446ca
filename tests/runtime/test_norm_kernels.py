"""Normalisation of rows at the extremes, for widths around the sizes of vectors."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.ir.graph import Array
from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder

CHANNELS = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 65, 100, 384, 1000, 8192]


def extreme_rows(channels: int) -> Array:
    """Constant rows, rows of the largest variance, one outlier, and spreads from 1 to 20000."""
    rng = np.random.default_rng(channels)
    rows = [np.full(channels, value) for value in (-32768, 32767, 0, 1, -1)]
    rows.append(np.where(np.arange(channels) % 2, 32767, -32768))
    for base, outlier in ((0, 1), (-32768, 32767)):
        rows.append(np.full(channels, base))
        rows[-1][-1] = outlier
    for spread in (1, 3, 50, 1000, 20000):
        rows.append(np.clip(rng.normal(0, spread, channels), -32768, 32767).astype(int))
    return np.array(rows, np.int16)


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_norm_equals_reference(op: str, channels: int) -> None:
    build = Builder(channels)
    build.output("y", build.norm(build.input("x", "int16", ("N", channels)), "norm", op))
    rows = extreme_rows(channels)
    for part in (rows, rows[:3]):
        actual = Session(build.graph, threads=1).run({"x": part})["y"]
        np.testing.assert_array_equal(actual, interpret(build.graph, {"x": part})["y"])
