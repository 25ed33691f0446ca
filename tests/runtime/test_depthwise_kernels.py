"""Convolutions of single channels: widths around the sizes of vectors, windows of many cells."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.reference import interpret
from intformer.reference.conformance import Case
from intformer.runtime import Session


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 31, 32, 41, 72])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (8, 8), (9, 9), (13, 11)])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_equals_reference(channels: int, kernel: tuple[int, int], stride: int) -> None:
    rng = np.random.default_rng(channels)
    cells = kernel[0] * kernel[1]
    pixels = rng.integers(0, 256, (2, 14, 12, channels), dtype=np.uint8)
    pixels[0] = 255
    weight = rng.integers(-128, 128, (cells, channels), dtype=np.int8)
    weight[:, 0] = -128
    operands = {
        "x": pixels,
        "pad": rng.integers(0, 256, channels, dtype=np.uint8),
        "weight": weight,
        "bias": rng.integers(-(2**20), 2**20, channels, dtype=np.int32),
    }
    padding = kernel[0] // 2, kernel[1] // 2
    attrs = {"size": (14, 12), "kernel": kernel, "stride": (stride, stride), "padding": padding}
    sizes = [
        (n + 2 * p - k) // stride + 1 for n, p, k in zip((14, 12), padding, kernel, strict=True)
    ]
    result = np.zeros((2, *sizes, channels), np.int32)
    made = Case("depthwise", attrs, operands, {"x": (0, 255)}, result)
    wanted = interpret(made.graph(), made.inputs)["y"]
    assert np.ptp(wanted) > 1000
    actual = Session(made.graph(), threads=2).run(made.inputs)["y"]
    np.testing.assert_array_equal(actual, wanted)
