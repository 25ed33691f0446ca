"""Corruptions of sizes, and references to places outside the file."""

from __future__ import annotations

import numpy as np
from corruptions import corruption, initializer, repeated_graph
from onnx import ModelProto, TensorProto, helper, numpy_helper

# Sizes


@corruption("has more than 2^31 elements")
def huge_input(model: ModelProto) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value = dims[2].dim_value = 2**20


@corruption("needs 18446744073709551616 bytes, the file has")
def shape_product_of_2_to_the_64(model: ModelProto) -> None:
    """In 64 bits the product is 0."""
    tensor = initializer(model, "embed.b")
    tensor.data_type = TensorProto.INT8
    tensor.dims[:] = [2**31, 2**31, 4]
    tensor.raw_data = b""


@corruption("bytes, the file has")
def short_data(model: ModelProto) -> None:
    tensor = initializer(model, "stem.weight")
    tensor.raw_data = tensor.raw_data[:-1]


@corruption("bytes, the file has")
def long_data(model: ModelProto) -> None:
    initializer(model, "stem.bias").raw_data += b"\0\0\0\0"


@corruption("has a dimension of -48: must be in [1, 2^31]")
def negative_dimension(model: ModelProto) -> None:
    initializer(model, "stem.weight").dims[0] = -48


@corruption("has a dimension of 0")
def empty_constant(model: ModelProto) -> None:
    tensor = initializer(model, "stem.bias")
    tensor.dims[0] = 0
    tensor.raw_data = b""


@corruption("has a dimension of 9223372036854775807")
def huge_dimension(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**63 - 1


@corruption("has a dimension without one size or one symbol")
def dimension_of_nothing(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()


@corruption("rank 9, at most 8")
def high_rank(model: ModelProto) -> None:
    initializer(model, "x").dims[:] = [1] * 8 + [32]


@corruption("a last dimension of 2000000")
def more_channels_than_a_proof_holds(model: ModelProto) -> None:
    tensor = initializer(model, "stem.pad")
    tensor.dims[0] = 2_000_000
    tensor.raw_data = bytes(2_000_000)


@corruption("more than 500000 fields")
def many_small_fields(model: ModelProto) -> bytes:
    """A file of empty nodes would take fifty times its size in memory."""
    model.ClearField("graph")
    return model.SerializeToString() + repeated_graph(b"\x0a\x00" * 600_000)


@corruption("20001 nodes, at most 20000")
def many_nodes(model: ModelProto) -> bytes:
    model.ClearField("graph")
    return model.SerializeToString() + repeated_graph(b"\x0a\x00" * 20_001)


@corruption("bytes are computed of")
def a_terabyte_from_two_constants(model: ModelProto) -> None:
    """Few bytes for relations and pairs, one bias for each head of each pair."""
    for name, shape in (("values", (1, 2**20)), ("pairs", (1, 1000, 1000))):
        array = np.zeros(shape, np.int16 if name == "values" else np.uint8)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    _append(model, "pair_bias", ["values", "pairs"], "bias")


@corruption("bytes are computed of")
def one_constant_expanded_a_thousand_times(model: ModelProto) -> None:
    packed = np.zeros((1000, 10, 50), np.uint8)
    model.graph.initializer.append(numpy_helper.from_array(packed, "packed"))
    factors = np.zeros((1000, 10), np.int8)
    model.graph.initializer.append(numpy_helper.from_array(factors, "factors"))
    for index in range(1000):
        _append(model, "unpack4_1000", ["packed", "factors"], f"weight{index}")


def _append(model: ModelProto, function: str, inputs: list[str], output: str) -> None:
    path = f"#{len(model.graph.node)}"
    node = helper.make_node(function, inputs, [output], name=path, domain="intformer")
    model.graph.node.append(node)


# Places outside the file


@corruption("TensorProto.external_data is not allowed: weights must lie inside the file")
def external_data(model: ModelProto) -> None:
    tensor = initializer(model, "stem.weight")
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.data_location = TensorProto.EXTERNAL


@corruption("TensorProto.external_data is not allowed: weights must lie inside the file")
def external_data_with_path_traversal(model: ModelProto) -> None:
    tensor = initializer(model, "stem.bias")
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


@corruption("TensorProto.data_location is not allowed")
def external_location_alone(model: ModelProto) -> None:
    initializer(model, "stem.bias").data_location = TensorProto.EXTERNAL


@corruption("TensorProto.float_data is not allowed: numbers are stored as raw_data")
def typed_float_data(model: ModelProto) -> None:
    initializer(model, "stem.bias").float_data.extend([0.5] * 32)


@corruption("TensorProto.int32_data is not allowed: numbers are stored as raw_data")
def typed_integer_data(model: ModelProto) -> None:
    tensor = initializer(model, "stem.bias")
    tensor.ClearField("raw_data")
    tensor.int32_data.extend([1] * 32)


@corruption("GraphProto.sparse_initializer is not allowed")
def sparse_initializer(model: ModelProto) -> None:
    model.graph.sparse_initializer.add()


@corruption("GraphProto.quantization_annotation is not allowed")
def quantization_annotation(model: ModelProto) -> None:
    model.graph.quantization_annotation.add(tensor_name="x")


@corruption("ModelProto.training_info is not allowed")
def training_info(model: ModelProto) -> None:
    model.training_info.add()


@corruption("TypeProto.sequence_type is not allowed")
def sequence_input(model: ModelProto) -> None:
    model.graph.input[0].type.sequence_type.SetInParent()


@corruption("field 1000 is not allowed")
def unknown_field(model: ModelProto) -> bytes:
    return model.SerializeToString() + b"\xc2\x3e\x01x"


@corruption("ModelProto.graph is given twice")
def second_graph(model: ModelProto) -> bytes:
    """Parsers merge the two; a scanner that looks at the first would be deceived."""
    return model.SerializeToString() + repeated_graph(b"")
