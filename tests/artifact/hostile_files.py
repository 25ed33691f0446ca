"""Corruptions of versions, metadata and bytes."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
from corruptions import corruption, metadata
from onnx import ModelProto, TensorProto, helper

from intformer import artifact
from programs import bert_like

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


@corruption("format version is '3', this version of intformer reads '2'")
def future_format(model: ModelProto) -> None:
    metadata(model, "intformer.format").value = "3"


@corruption("format version is '1', this version of intformer reads '2'")
def past_format(model: ModelProto) -> None:
    metadata(model, "intformer.format").value = "1"


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
    model.metadata_props.add(key="intformer.input_ranges", value='{"other": [0, 1]}')


@corruption("metadata 'intformer.input_names' does not fit the inputs", base="bert")
def two_inputs_of_one_name(model: ModelProto) -> None:
    model.metadata_props.add(key="intformer.input_names", value='{"mask": "ids"}')


@corruption("metadata 'intformer.input_names' does not fit the inputs")
def name_of_no_input(model: ModelProto) -> None:
    model.metadata_props.add(key="intformer.input_names", value='{"label": "pixels"}')


@corruption("is not UTF-8 text")
def text_that_is_no_text(model: ModelProto) -> bytes:
    return model.SerializeToString().replace(b"blocks.0.attn", b"block\xff\xfe0.attn")


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
