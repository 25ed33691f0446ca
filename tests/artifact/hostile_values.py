"""Corruptions of element types, ranges and constants."""

from __future__ import annotations

import numpy as np
from corruptions import attribute, call, corruption, fill, initializer, metadata
from onnx import ModelProto, TensorProto, helper, numpy_helper

# Floating point


@corruption("element type FLOAT")
def float_initializer(model: ModelProto) -> None:
    tensor = initializer(model, "head.bias")
    array = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@corruption("element type DOUBLE")
def float_input(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


@corruption("element type FLOAT16")
def float_output(model: ModelProto) -> None:
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT16


@corruption("the body of function 'linear' is not what format 2 defines")
def float_in_a_function(model: ModelProto) -> None:
    body = next(f for f in model.functions if f.name == "linear")
    extra = helper.make_node("Constant", [], ["f"], value_float=0.5)
    body.node.append(extra)


@corruption("AttributeProto.f is not allowed")
def float_attribute(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").f = 1.5


@corruption("is unknown; known operators nearest")
def float_result(model: ModelProto) -> None:
    call(model, "requantize").op_type = "requantize_float32"


# Types


@corruption("weight is uint8, must be int8")
def wrong_weight_dtype(model: ModelProto) -> None:
    initializer(model, "stem.weight").data_type = TensorProto.UINT8


@corruption("declared as int32[N], but it computes int64[N]")
def wrong_output_dtype(model: ModelProto) -> None:
    model.graph.output[2].type.tensor_type.elem_type = TensorProto.INT32


@corruption("declared as int32[N, 8]")
def wrong_output_shape(model: ModelProto) -> None:
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 8


@corruption("element type 99")
def unknown_element_type(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 99


@corruption("GraphProto.value_info is not allowed: types of inner values follow")
def declared_inner_value(model: ModelProto) -> None:
    model.graph.value_info.append(model.graph.output[0])


@corruption("mask has shape", base="bert")
def mask_of_wrong_rank(model: ModelProto) -> None:
    shape = model.graph.input[1].type.tensor_type.shape
    shape.dim.add(dim_value=4)


@corruption("has no tensor type with a shape")
def value_without_shape(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


# Ranges


@corruption("does not fit int32")
def overflowing_bias(model: ModelProto) -> None:
    fill(initializer(model, "fc1.bias"), 2**31 - 1)


@corruption("must be below 2^62")
def overflowing_multiplier(model: ModelProto) -> None:
    fill(initializer(model, "stem.multiplier"), 2**31 - 1)
    fill(initializer(model, "stem.offset"), 2**62)


@corruption("does not fit int64")
def overflowing_offset(model: ModelProto) -> None:
    fill(initializer(model, "stem.offset"), 2**63 - 1)


@corruption("shift = -1 must be an integer in [1, 62]")
def negative_shift(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").i = -1


@corruption("shift = 63 must be an integer in [1, 62]")
def shift_63(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").i = 63


@corruption("shift = 0 must be an integer in [1, 62]")
def zero_shift(model: ModelProto) -> None:
    """Its divisor would be 1, and its rounding constant 2^-1."""
    attribute(model, "add", "shift").i = 0


@corruption("eps = 0 must be an integer in [1,")
def zero_divisor(model: ModelProto) -> None:
    """Without epsilon the root of a constant row is 0, and it is divided by."""
    attribute(model, "layer_norm", "eps").i = 0


@corruption("gain = -5 must be an integer")
def negative_dividend(model: ModelProto) -> None:
    attribute(model, "attention", "gain").i = -5


@corruption("q_zero = 256 must be an integer in [0, 255]")
def zero_point_beyond_uint8(model: ModelProto) -> None:
    attribute(model, "attention", "q_zero").i = 256


@corruption("index in [0, 50] reaches outside the 50 rows", base="bert")
def embedding_out_of_range(model: ModelProto) -> None:
    entry = metadata(model, "intformer.input_ranges")
    entry.value = entry.value.replace("[0, 49]", "[0, 50]")


@corruption("index in [-1, 49] reaches outside", base="bert")
def embedding_below_zero(model: ModelProto) -> None:
    entry = metadata(model, "intformer.input_ranges")
    entry.value = entry.value.replace("[0, 49]", "[-1, 49]")


@corruption("index in [-9223372036854775808, 9223372036854775807] reaches", base="bert")
def embedding_without_range(model: ModelProto) -> None:
    metadata(model, "intformer.input_ranges").value = "{}"


@corruption("a table needs 256 entries, has 255")
def short_table(model: ModelProto) -> None:
    tensor = initializer(model, "entries")
    tensor.dims[0] = 255
    tensor.raw_data = tensor.raw_data[:255]


@corruption("21 positions, but a table of 20 rows", base="bert")
def more_positions_than_rows(model: ModelProto) -> None:
    entry = metadata(model, "intformer.limits")
    entry.value = entry.value.replace("20", "21")


@corruption("dimension S needs a limit", base="bert")
def unlimited_sum(model: ModelProto) -> None:
    metadata(model, "intformer.limits").value = '{"N": 4}'


@corruption("range [300, 400] is not within uint8", base="bert")
def range_beyond_the_dtype(model: ModelProto) -> None:
    metadata(model, "intformer.input_ranges").value = '{"ids": [0, 49], "mask": [300, 400]}'


# Weights of 4 bits


@corruption("does not fit int8")
def multipliers_that_leave_int8(model: ModelProto) -> None:
    fill(initializer(model, "head.multiplier"), 127)


@corruption("rows = 65 must end in the last of 1 groups of 32")
def rows_beyond_the_packed_ones(model: ModelProto) -> None:
    call(model, "unpack4").op_type = "unpack4_65"


@corruption("rows = 2147483648 must end in the last")
def a_huge_weight_from_few_bytes(model: ModelProto) -> None:
    call(model, "unpack4").op_type = "unpack4_2147483648"


@corruption("must have one value per group of packed")
def multipliers_of_another_layer(model: ModelProto) -> None:
    tensor = initializer(model, "head.multiplier")
    array = np.ones((3, 1), np.int8)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
