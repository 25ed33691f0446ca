"""Attributes and ranges that the verifier refuses."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import Rejections, replace, retype

from intformer.ir.graph import Graph

rejected = Rejections()


@rejected("requantize-int16-uint8", r"lacks \['shift'\]")
def missing_attribute(g: Graph) -> None:
    del g.nodes[0].attrs["shift"]


@rejected("requantize-int16-uint8", r"has unknown \['axis'\]")
def unknown_attribute(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 1


@rejected("requantize-int16-uint8", r"shift = 63 must be an integer in \[1, 62\]")
def shift_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 63


@rejected("requantize-int16-uint8", "shift = -1 must be")
def negative_shift(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = -1


@rejected("requantize-int16-uint8", r"shift = 18.0 must be an integer")
def float_attribute(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 18.0


@rejected("requantize-int16-uint8", "shift = True must be an integer")
def boolean_attribute(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = True


@rejected("requantize-int16-uint8", "dtype 'float32' is not one of")
def float_result(g: Graph) -> None:
    g.nodes[0].attrs["dtype"] = "float32"


@rejected("reshape-int16", "must be of type tuple")
def shape_that_is_a_number(g: Graph) -> None:
    g.nodes[0].attrs["shape"] = 24


@rejected("reshape-int16", "must hold integers only")
def shape_of_floats(g: Graph) -> None:
    g.nodes[0].attrs["shape"] = (0, 24.0)  # type: ignore[assignment]


@rejected("attention-uint8", r"gain = 0 must be an integer in \[1, ")
def zero_gain(g: Graph) -> None:
    g.nodes[0].attrs["gain"] = 0


# Ranges


@rejected("linear-2000", r"a value in .* does not fit int32")
def accumulator_overflow(g: Graph) -> None:
    g.nodes[0].attrs["x_zero"] = 0
    replace(g, "weight", np.full((70_000, 6), 127))
    retype(g, "x", "uint8", ("N", 3, 70_000))


@rejected("linear-64", "does not fit int32")
def bias_that_overflows_the_accumulator(g: Graph) -> None:
    replace(g, "bias", [2**31 - 1] * 6)


@rejected("linear16-1", "does not fit int32")
def wide_accumulator_overflow(g: Graph) -> None:
    replace(g, "weight", np.full((600, 6), 127))
    retype(g, "x", "int16", ("N", 3, 600))


@rejected("requantize-int32-uint8", "does not fit int32")
def multiplier_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 30


@rejected("requantize-int32-uint8", r"must be below 2\^62")
def offset_too_large(g: Graph) -> None:
    replace(g, "narrow.offset", [2**62])


@rejected("requantize-int32-uint8", "does not fit int64")
def offset_beyond_64_bits(g: Graph) -> None:
    replace(g, "narrow.offset", [2**63 - 1])


@rejected("add-int32", r"does not fit int32")
def sum_that_does_not_fit(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 2


@rejected("sum-int32", "does not fit int32")
def sum_of_too_many(g: Graph) -> None:
    g.input_ranges["x"] = (0, 2**30)


@rejected("attention-uint8", "does not fit int32")
def exponent_that_overflows(g: Graph) -> None:
    g.nodes[0].attrs["multiplier"] = 2**20


@rejected("attention-uint8", r"must be below 2\^62|does not fit int64")
def attention_offset_too_large(g: Graph) -> None:
    g.nodes[0].attrs["offset"] = 2**62


@rejected("layer_norm-33", "does not fit int32")
def norm_gain_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 1
    replace(g, g.nodes[0].inputs[1], [2**31 - 1])


@rejected("embedding-int64", "does not fit int32")
def embedding_multiplier_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 1


@pytest.mark.parametrize("name", rejected)
def test_rejections(name: str) -> None:
    rejected.check(name)
