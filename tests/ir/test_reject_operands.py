"""Operands that the verifier refuses: types, shapes and sizes that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import Rejections, replace, retype

from intformer.ir.graph import Graph, TensorType

rejected = Rejections()


@rejected("linear-64", "has 2 operands, needs 3")
def missing_operand(g: Graph) -> None:
    g.nodes[0].inputs = g.nodes[0].inputs[:2]


@rejected("linear-64", "has 4 operands, needs 3")
def superfluous_operand(g: Graph) -> None:
    g.nodes[0].inputs = (*g.nodes[0].inputs, "bias")


@rejected("concat-int16", "has 0 operands")
def concat_of_nothing(g: Graph) -> None:
    g.nodes[0].inputs = ()


@rejected("linear-64", "x is int8, must be uint8")
def operand_of_wrong_dtype(g: Graph) -> None:
    retype(g, "x", "int8", ("N", 3, 64))


@rejected("attention-uint8", r"q has shape .*, must have rank 3")
def operand_of_wrong_rank(g: Graph) -> None:
    retype(g, "q", "uint8", ("N", 1, 5, 12))


@rejected("linear-64", "bias must be a constant")
def weights_that_are_an_input(g: Graph) -> None:
    del g.constants["bias"]
    g.inputs["bias"] = g.types["bias"]


@rejected("packed-75-64", "multiplier must be a constant")
def multipliers_that_are_an_input(g: Graph) -> None:
    del g.constants["fc.factors"]
    g.inputs["fc.factors"] = g.types["fc.factors"]


@rejected(
    "packed-75-64", r"multiplier \[6, 3\] must have one value per group of packed \[6, 2, 32\]"
)
def multipliers_of_another_layer(g: Graph) -> None:
    replace(g, "fc.factors", np.ones((6, 3)))


@rejected("packed-75-64", "rows = 64 must end in the last of 2 groups of 64")
def rows_that_leave_a_group_unused(g: Graph) -> None:
    g.nodes[0].attrs["rows"] = 64


@rejected("packed-75-64", "a value in .* does not fit int8")
def products_beyond_int8(g: Graph) -> None:
    replace(g, "fc.factors", np.full((6, 2), 17))


@rejected("linear-64", "inner dimensions differ")
def matmul_mismatch(g: Graph) -> None:
    retype(g, "x", "uint8", ("N", 3, 63))


@rejected("linear-2000", "x_zero = 1 must be 0 for more than 65793 inputs")
def zero_point_beside_too_many_inputs(g: Graph) -> None:
    g.types["x"] = g.inputs["x"] = TensorType("uint8", ("N", 3, 65794))
    replace(g, "weight", np.zeros((65794, 6)))
    g.nodes[0].attrs["x_zero"] = 1


@rejected("linear-64", "bias has 1 values for 6 output channels")
def bias_of_wrong_length(g: Graph) -> None:
    replace(g, "bias", [1])


@rejected("requantize-int16-uint8", "small has|multiplier has 4 values, must have 1 or one per")
def multiplier_of_wrong_length(g: Graph) -> None:
    replace(g, "small", [1, 2, 3, 4])


@rejected("requantize-int16-uint8", "offset has 6 values")
def offset_of_wrong_length(g: Graph) -> None:
    replace(g, "offset", [1] * 6)


@rejected("add-int16", "do not broadcast")
def sum_of_unlike_shapes(g: Graph) -> None:
    retype(g, "a", "int16", ("N", 4))


@rejected("add-int16", "a_multiplier has 3 values")
def add_multiplier_of_wrong_length(g: Graph) -> None:
    replace(g, "left", [1, 2, 3])


@rejected("table-uint8", "needs 256 entries, has 255")
def short_table(g: Graph) -> None:
    replace(g, "entries", g.constants["entries"][:255])


@rejected("layer_norm-33", "channels = 32, but x has shape")
def norm_of_other_channels(g: Graph) -> None:
    g.nodes[0].attrs["channels"] = 32


@rejected("layer_norm-33", "channels = 8193, at most 8192")
def norm_of_too_many_channels(g: Graph) -> None:
    retype(g, "x", "int16", ("N", 4, 8193))
    g.nodes[0].attrs["channels"] = 8193
    for name in g.nodes[0].inputs[1:]:
        replace(g, name, [1])


@rejected("rms_norm-33", "eps = 17592186044416 must be below")
def eps_beyond_the_root(g: Graph) -> None:
    g.nodes[0].attrs["eps"] = 2**44


@rejected("embedding-int64", "10 multipliers for a table of 11 rows")
def embedding_multipliers_missing(g: Graph) -> None:
    replace(g, "factor", g.constants["factor"][:10])


@rejected("embedding-int64", r"index in \[0, 11\] reaches outside the 11 rows")
def ids_beyond_the_table(g: Graph) -> None:
    g.input_ranges["ids"] = (0, 11)


@rejected("embedding-int64", r"index in \[-1, 10\] reaches outside")
def negative_ids(g: Graph) -> None:
    g.input_ranges["ids"] = (-1, 10)


@rejected("positions-int16", "10 positions, but a table of 9 rows")
def positions_beyond_the_table(g: Graph) -> None:
    g.limits["S"] = 10


@rejected("positions-int16", "has no sequence axis")
def positions_of_a_vector(g: Graph) -> None:
    retype(g, "like", "int32", ("N",))


@rejected("attention-uint8", "heads = 5 must be positive and divide the width 12")
def heads_that_do_not_divide(g: Graph) -> None:
    g.nodes[0].attrs["heads"] = 5


@rejected("attention-uint8", "heads = 0 must be positive")
def no_heads(g: Graph) -> None:
    g.nodes[0].attrs["heads"] = 0


@rejected("attention-uint8", "heads of 8196 channels, at most 8192")
def heads_beyond_the_sums(g: Graph) -> None:
    g.nodes[0].attrs["heads"] = 1
    for name in "qkv":
        retype(g, name, "uint8", ("N", 5, 8196))


@rejected("attention-uint8", "must have one shape")
def keys_without_values(g: Graph) -> None:
    retype(g, "v", "uint8", ("N", 7, 12))


@rejected("attention-uint8", "must agree in batch and width")
def queries_of_another_batch(g: Graph) -> None:
    retype(g, "q", "uint8", (1, 5, 12))


@rejected("attention-masked-uint8", r"mask \[N, 1\] must be \[N, S\]")
def mask_that_would_broadcast(g: Graph) -> None:
    retype(g, "mask", "uint8", ("N", 1))


@rejected("attention-masked-uint8", "a masked key would keep a weight")
def mask_without_effect(g: Graph) -> None:
    g.nodes[0].attrs["multiplier"] = 1


@rejected("published_windows", r"bias \[4, 2, 9, 9\] must be \[4, 3, 9, 9\], or 1 on axes before")
def biases_of_other_heads(g: Graph) -> None:
    replace(g, "shift-4x3x9x9.bias", np.zeros((4, 2, 9, 9)))


@rejected("published_windows", r"bias \[1, 1, 1, 1\] must be \[4, 3, 9, 9\], or 1 on axes before")
def a_bias_that_would_repeat_over_keys(g: Graph) -> None:
    replace(g, "log2-1x1x1x9.bias", np.zeros((1, 1, 1, 1)))


@rejected("published_windows", "do not fit each other")
def values_of_other_windows(g: Graph) -> None:
    retype(g, "v", "uint8", ("N", 2, 9, 21))


@rejected("published_windows", "heads = 2 must be positive and divide the width 21")
def heads_that_do_not_divide_wider_values(g: Graph) -> None:
    g.nodes[0].attrs["heads"] = 2


@rejected("published_windows", r"bits = 16 of a probability must be in 1\.\.15")
def probabilities_beyond_two_bytes(g: Graph) -> None:
    g.nodes[0].attrs["bits"] = 16


@rejected("patches-(3, 3)-(1, 1)-(1, 1)", r"size = \(8, 8\), but x has shape")
def patches_of_another_size(g: Graph) -> None:
    g.nodes[0].attrs["size"] = (8, 8)


@rejected("patches-(3, 3)-(1, 1)-(1, 1)", "pad has 1 values for 2 channels")
def pad_of_wrong_length(g: Graph) -> None:
    replace(g, "pad", [0])


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", "larger than the image")
def kernel_larger_than_the_image(g: Graph) -> None:
    g.nodes[0].attrs["kernel"] = (10, 1)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", "covers more than 4096 positions")
def kernel_that_would_take_forever(g: Graph) -> None:
    g.nodes[0].attrs["kernel"] = (30000, 30000)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", r"stride = \(0, 1\) must be two integers of at least 1")
def zero_stride(g: Graph) -> None:
    g.nodes[0].attrs["stride"] = (0, 1)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", r"padding = \(-1, 0\) must be two integers of at least 0")
def negative_padding(g: Graph) -> None:
    g.nodes[0].attrs["padding"] = (-1, 0)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", r"kernel = \(1,\) must be two integers")
def kernel_of_one_dimension(g: Graph) -> None:
    g.nodes[0].attrs["kernel"] = (1,)


@rejected("patches-(3, 3)-(1, 1)-(1, 1)", "must be smaller than kernel")
def padding_of_whole_windows(g: Graph) -> None:
    g.nodes[0].attrs["padding"] = (3, 1)


@rejected("concat-int16", "the other dimensions differ")
def concat_mismatch(g: Graph) -> None:
    retype(g, "x1", "int16", ("N", 4, 2))


@rejected("concat-int16", "concat needs operands of one dtype")
def concat_of_unlike_types(g: Graph) -> None:
    retype(g, "x1", "int8", ("N", 3, 2))


@rejected("concat-int16", r"axis 3 is outside \[N, 3, 1\]")
def concat_along_no_axis(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 3


@rejected("sum1-int16", r"axis -4 is outside")
def sum_along_no_axis(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = -4


@rejected("argmax1-int16", r"axis 3 is outside")
def argmax_along_no_axis(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 3


@rejected("slice-int16", "slice 1:7 is outside dimension 2")
def slice_beyond_the_end(g: Graph) -> None:
    g.nodes[0].attrs["stop"] = 7


@rejected("slice-int16", "only the first element of symbolic dimension N")
def slice_of_the_batch(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 0


@rejected("reshape-int16", "cannot reshape")
def reshape_of_another_size(g: Graph) -> None:
    g.nodes[0].attrs["shape"] = (0, 5, 5)


@rejected("transpose-int16", "is not a permutation")
def transpose_of_repeated_axes(g: Graph) -> None:
    g.nodes[0].attrs["perm"] = (0, 1, 1)


@rejected("repeat_batch-int16", "needs a leading dimension of 1")
def repeat_of_many(g: Graph) -> None:
    replace(g, "row", np.ones((2, 2, 5)))


@pytest.mark.parametrize("name", rejected)
def test_rejections(name: str) -> None:
    rejected.check(name)
