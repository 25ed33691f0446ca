"""Broken and hostile files: each gets its own clear error, before anything runs."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from intformer import artifact
from intformer.errors import ArtifactError, VerifyError
from programs import bert_like, vit_like

Mutation = Callable[[ModelProto], bytes | None]
CORRUPTIONS: dict[str, tuple[Mutation, str, str]] = {}


def corruption(message: str, base: str = "vit") -> Callable[[Mutation], Mutation]:
    """Registers a way to spoil a sound model and a part of the error it must cause."""

    def register(mutate: Mutation) -> Mutation:
        CORRUPTIONS[mutate.__name__] = (mutate, message, base)
        return mutate

    return register


@lru_cache
def sound(base: str) -> bytes:
    graph = {"vit": vit_like, "bert": bert_like}[base]()
    return artifact.to_onnx(graph).SerializeToString(deterministic=True)


def initializer(model: ModelProto, end: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name.endswith(end))


def call(model: ModelProto, start: str) -> NodeProto:
    return next(n for n in model.graph.node if n.op_type.startswith(start))


def attribute(model: ModelProto, start: str, name: str) -> AttributeProto:
    return next(a for a in call(model, start).attribute if a.name == name)


def fill(tensor: TensorProto, value: int) -> None:
    array = numpy_helper.to_array(tensor)
    tensor.raw_data = np.full_like(array, value).tobytes()


def metadata(model: ModelProto, key: str) -> onnx.StringStringEntryProto:
    return next(entry for entry in model.metadata_props if entry.key == key)


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


@corruption("element type BFLOAT16")
def float_value_info(model: ModelProto) -> None:
    model.graph.value_info[3].type.tensor_type.elem_type = TensorProto.BFLOAT16


@corruption("the body of function 'linear' is not what format 1 defines")
def float_in_a_function(model: ModelProto) -> None:
    body = next(f for f in model.functions if f.name == "linear")
    extra = helper.make_node("Constant", [], ["f"], value_float=0.5)
    body.node.append(extra)


@corruption("AttributeProto.f is not allowed")
def float_attribute(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").f = 1.5


@corruption("is unknown; known operators")
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


@corruption("declared as uint8[N, 3, 3, 49]")
def wrong_intermediate_shape(model: ModelProto) -> None:
    model.graph.value_info[0].type.tensor_type.shape.dim[3].dim_value = 49


@corruption("element type 99")
def unknown_element_type(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 99


@corruption("has no declared type")
def undeclared_result(model: ModelProto) -> None:
    del model.graph.value_info[0]


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
    tensor = initializer(model, "gelu.entries")
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


# Structure


@corruption("is used before it is defined (or in a cycle)")
def cycle(model: ModelProto) -> None:
    call(model, "reshape").input[0] = call(model, "attention").output[0]


@corruption("is used before it is defined (or in a cycle)")
def node_that_reads_itself(model: ModelProto) -> None:
    node = call(model, "concat")
    node.input[0] = node.output[0]


@corruption("is defined twice")
def value_defined_twice(model: ModelProto) -> None:
    call(model, "linear").output[0] = call(model, "patches").output[0]


@corruption("is defined twice")
def input_that_is_a_constant(model: ModelProto) -> None:
    model.graph.initializer[0].name = "pixels"


@corruption("input 'stem.bias' is neither an input, a constant nor a result")
def missing_constant(model: ModelProto) -> None:
    model.graph.initializer.remove(initializer(model, "stem.bias"))


@corruption("has a declared type, but no node computes it")
def output_without_producer(model: ModelProto) -> None:
    model.graph.output[0].name = "nothing"


@corruption("must have 1 to 1024 printable characters")
def empty_name(model: ModelProto) -> None:
    model.graph.input[0].name = ""


@corruption("must have 1 to 1024 printable characters")
def control_characters_in_a_name(model: ModelProto) -> None:
    model.graph.initializer[0].name = "x\x1b[2J"


@corruption("has 2 outputs, must have one")
def second_output(model: ModelProto) -> None:
    call(model, "linear").output.append("more")


@corruption("the program has no outputs")
def no_outputs(model: ModelProto) -> None:
    model.graph.value_info.extend(model.graph.output)
    del model.graph.output[:]


@corruption("has 2 operands, needs 3")
def missing_operand(model: ModelProto) -> None:
    del call(model, "linear").input[2]


@corruption("has 4 operands, needs 3")
def extra_operand(model: ModelProto) -> None:
    node = call(model, "linear")
    node.input.append(node.input[0])


@corruption("multiplier must be a constant")
def computed_multiplier(model: ModelProto) -> None:
    """Ranges are proved from the values of multipliers, so they cannot be data."""
    model.graph.input.append(
        helper.make_tensor_value_info("sneaky", TensorProto.INT32, [32]),
    )
    call(model, "requantize").input[1] = "sneaky"


@corruption("its name must be a module path and '#0'")
def node_without_its_number(model: ModelProto) -> None:
    model.graph.node[0].name = "stem"


@corruption("the file has no graph")
def no_graph(model: ModelProto) -> None:
    model.ClearField("graph")


# Operators and functions


@corruption("function 'system_sh' with 3 inputs is unknown")
def unknown_operator(model: ModelProto) -> None:
    call(model, "linear").op_type = "system_sh"


@corruption("operator 'com.microsoft::Attention' is not one of domain 'intformer'")
def unknown_domain(model: ModelProto) -> None:
    node = call(model, "attention")
    node.domain, node.op_type = "com.microsoft", "Attention"


@corruption("operator 'ai.onnx::Softmax' is not one of domain 'intformer'")
def standard_operator_between_calls(model: ModelProto) -> None:
    node = call(model, "reshape")
    node.domain, node.op_type = "", "Softmax"


@corruption("the body of function 'requantize_int16' is not what format 1 defines")
def changed_function_body(model: ModelProto) -> None:
    body = next(f for f in model.functions if f.name == "requantize_int16")
    next(n for n in body.node if n.op_type == "Min").op_type = "Max"


@corruption("function 'sum_1' is defined, but no node calls it")
def extra_function(model: ModelProto) -> None:
    extra = model.functions.add()
    extra.CopyFrom(model.functions[0])
    extra.name = "sum_1"


@corruption("function 'linear' is defined twice")
def function_defined_twice(model: ModelProto) -> None:
    model.functions.append(next(f for f in model.functions if f.name == "linear"))


@corruption("function 'linear' is called, but not defined")
def missing_function(model: ModelProto) -> None:
    model.functions.remove(next(f for f in model.functions if f.name == "linear"))


@corruption("the body of function 'linear' is not what format 1 defines")
def function_of_another_domain(model: ModelProto) -> None:
    next(f for f in model.functions if f.name == "linear").domain = "evil"


@corruption("function 'a\\nb\\x1b[31m' with 3 inputs is unknown")
def control_characters_in_an_operator(model: ModelProto) -> None:
    call(model, "linear").op_type = "a\nb\x1b[31m"


@corruption("its name must be a module path and '#0'")
def control_characters_in_a_path(model: ModelProto) -> None:
    model.graph.node[0].name = "\x1b[2J\n#0"


@corruption("kernels have more than 65536 positions in all")
def many_windows(model: ModelProto) -> None:
    """Each window costs time in proof and comparison, a node costs a few bytes."""
    node = call(model, "patches")
    node.op_type = "patches_99x99_60x60_1x1_0x0"
    for index in range(20):
        copied = model.graph.node.add()
        copied.CopyFrom(node)
        copied.output[0] = f"windows_{index}"
        copied.name = f"#{len(model.graph.node) - 1}"


# Attributes


@corruption("AttributeProto.s is not allowed")
def string_attribute(model: ModelProto) -> None:
    call(model, "linear").attribute.append(helper.make_attribute("path", "/etc/passwd"))


@corruption("AttributeProto.g is not allowed: subgraphs are not part of the format")
def subgraph(model: ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    call(model, "linear").attribute.append(helper.make_attribute("body", inner))


@corruption("AttributeProto.t is not allowed")
def tensor_attribute(model: ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32))
    call(model, "linear").attribute.append(helper.make_attribute("value", tensor))


@corruption("AttributeProto.ref_attr_name is not allowed")
def attribute_reference(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").ref_attr_name = "elsewhere"


@corruption("linear has no attribute 'shift'")
def attribute_of_another_operator(model: ModelProto) -> None:
    call(model, "linear").attribute.append(helper.make_attribute("shift", 3))


@corruption("attribute 'shift' is given twice")
def attribute_given_twice(model: ModelProto) -> None:
    call(model, "requantize").attribute.append(helper.make_attribute("shift", 3))


@corruption("attribute 'shift' must be an integer")
def attribute_of_another_type(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").type = AttributeProto.FLOAT


@corruption("lacks ['shift'] among its attributes")
def missing_attribute(model: ModelProto) -> None:
    del call(model, "requantize").attribute[:]


# Sizes


@corruption("has more than 2^31 elements")
def huge_input(model: ModelProto) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[1].dim_value = dims[2].dim_value = 2**20


@corruption("needs 18446744073709551616 bytes, the file has")
def shape_product_of_2_to_the_64(model: ModelProto) -> None:
    """In 64 bits the product is 0."""
    tensor = initializer(model, "places")
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
    initializer(model, "class_token").dims[:] = [1] * 8 + [32]


@corruption("last dimensions of up to 2000000")
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


def repeated_graph(body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return b"\x3a" + bytes([*length, size]) + body


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


# Versions and metadata


@corruption("operator sets are [('', 17), ('intformer', 1)]")
def wrong_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 17


@corruption("operator sets are")
def additional_domain(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


@corruption("ONNX IR version is 10, must be 8")
def wrong_ir_version(model: ModelProto) -> None:
    model.ir_version = 10


@corruption("format version is '2'")
def future_format(model: ModelProto) -> None:
    metadata(model, "intformer.format").value = "2"


@corruption("this is the flat form")
def flat_form(model: ModelProto) -> bytes:
    return artifact.to_onnx(bert_like(), flat=True).SerializeToString()


@corruption("written by 'pytorch', not by intformer")
def float_model_of_another_tool(model: ModelProto) -> bytes:
    node = helper.make_node("Softmax", ["x"], ["y"], axis=-1)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    return helper.make_model(graph, producer_name="pytorch").SerializeToString()


@corruption("characters of metadata, at most 8388608")
def metadata_bomb(model: ModelProto) -> None:
    model.metadata_props.add(key="note", value="a" * 9_000_000)


@corruption("metadata entries, at most 256")
def many_metadata_entries(model: ModelProto) -> None:
    for index in range(300):
        model.metadata_props.add(key=str(index), value="")


@corruption("is empty or given twice")
def metadata_given_twice(model: ModelProto) -> None:
    model.metadata_props.add(key="intformer.limits", value='{"N": 1}')


@corruption("metadata 'intformer.limits' is not a JSON object")
def metadata_that_is_no_json(model: ModelProto) -> None:
    metadata(model, "intformer.limits").value = "__import__('os').system('id')"


@corruption("metadata 'intformer.limits' is not a JSON object")
def deeply_nested_metadata(model: ModelProto) -> None:
    metadata(model, "intformer.limits").value = "[" * 1_000_000


@corruption("the limit of 'N' must be in [1, 2^31], got 0")
def limit_of_zero(model: ModelProto) -> None:
    metadata(model, "intformer.limits").value = '{"N": 0}'


@corruption("the limit of 'N' must be in [1, 2^31], got 1e+30")
def float_limit(model: ModelProto) -> None:
    metadata(model, "intformer.limits").value = '{"N": 1e30}'


@corruption("the range of 'ids' must be two integers", base="bert")
def float_range(model: ModelProto) -> None:
    metadata(model, "intformer.input_ranges").value = '{"ids": [0, 49.0]}'


@corruption("a range for 'other', which is no input")
def range_of_no_input(model: ModelProto) -> None:
    metadata(model, "intformer.input_ranges").value = '{"other": [0, 1]}'


@corruption("is defined twice")
def renaming_onto_another_value(model: ModelProto) -> None:
    metadata(model, "intformer.value_names").value = '{"label": "pixels"}'


@corruption("is not UTF-8 text")
def text_that_is_no_text(model: ModelProto) -> bytes:
    return model.SerializeToString().replace(b"class_token", b"class\xff\xfetokn")


# Bytes


@corruption("the file is empty")
def empty_file(model: ModelProto) -> bytes:
    return b""


@corruption("damaged or truncated one (a field of")
def truncated_file(model: ModelProto) -> bytes:
    content = model.SerializeToString()
    return content[: len(content) // 2]


@corruption("damaged or truncated one")
def random_bytes(model: ModelProto) -> bytes:
    return np.random.default_rng(0).bytes(4096)


@corruption("not an ONNX file, or a damaged")
def text_file(model: ModelProto) -> bytes:
    return b"hello, this is a text file\n" * 10


@corruption("this is a Python pickle")
def pickle_file(model: ModelProto) -> bytes:
    return pickle.dumps({"weight": [1, 2, 3]})


@corruption("this is a zip archive")
def zip_file(model: ModelProto) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    return buffer.getvalue()


@corruption("a number beyond 64 bits")
def endless_number(model: ModelProto) -> bytes:
    return model.SerializeToString() + b"\x08" + b"\xff" * 20


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_named(name: str) -> None:
    mutate, message, base = CORRUPTIONS[name]
    model = ModelProto.FromString(sound(base))
    content = mutate(model)
    with pytest.raises(VerifyError) as raised:
        artifact.load_bytes(model.SerializeToString() if content is None else content)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_sound_files_load() -> None:
    for base in ("vit", "bert"):
        artifact.load_bytes(sound(base))
        artifact.load_bytes(ModelProto.FromString(sound(base)).SerializeToString())


def test_there_are_many_corruptions() -> None:
    assert len(CORRUPTIONS) >= 30


# Paths


def refused(path: Path, message: str, **options: int) -> None:
    with pytest.raises(ArtifactError, match=message) as raised:
        artifact.load(path, **options)
    assert str(path) in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "missing.onnx", "there is no such file")


def test_directory(tmp_path: Path) -> None:
    refused(tmp_path, "it is a directory|not a regular file")


def test_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


def test_device() -> None:
    refused(Path("/dev/zero"), "not a regular file")


def test_path_with_a_null_byte() -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.load("a\0b")


def test_size_is_limited_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "program.onnx"
    path.write_bytes(sound("vit"))
    refused(path, "bytes, at most 1000 are allowed", max_bytes=1000)


def test_sparse_file_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2**40)
    refused(path, "bytes, at most 2147483647 are allowed")


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(sound("vit")[:-7])
    refused(path, "truncated")
