"""What is saved is loaded again, value for value, and saved again, byte for byte."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from intformer import artifact
from intformer.artifact import schema, wire
from intformer.artifact.functions import function_bytes
from intformer.artifact.golden import golden_inputs, splitmix64
from intformer.artifact.names import function_name, parse_function_name
from intformer.errors import ArtifactError, VerifyError
from intformer.ir.graph import Graph, Node, TensorType
from intformer.ir.value_names import readable_names, rename
from intformer.reference import interpret
from programs import Builder, bert_like, random_inputs, single_operator_cases, vit_like
from published_programs import published_windows

PROGRAMS = {"vit": vit_like, "bert": bert_like, "windows": published_windows}


def content(graph: Graph, flat: bool = False) -> bytes:
    return artifact.to_onnx(graph, flat=flat).SerializeToString(deterministic=True)


def readable(graph: Graph) -> Graph:
    """A copy with the names that loading gives."""
    graph = copy.deepcopy(graph)
    rename(graph, readable_names(graph))
    return graph


def assert_equal(one: Graph, other: Graph) -> None:
    """All fields but the golden record, which saving adds, and names of inner values."""
    one = readable(one)
    for name in ("stage", "inputs", "outputs", "nodes", "types", "limits", "input_ranges"):
        assert getattr(one, name) == getattr(other, name), name
    assert list(one.outputs) == list(other.outputs)
    assert list(one.constants) == list(other.constants)
    for name, array in one.constants.items():
        assert array.dtype == other.constants[name].dtype
        assert np.array_equal(array, other.constants[name])
    texts = [{k: v for k, v in g.metadata.items() if k != schema.KEY_GOLDEN} for g in (one, other)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("case", PROGRAMS | single_operator_cases())
def test_loaded_graph_is_the_saved_one(case: str) -> None:
    graph = (PROGRAMS | single_operator_cases())[case]()
    saved = content(graph)
    loaded = artifact.load_bytes(saved)
    assert_equal(graph, loaded)
    assert content(loaded) == saved == content(graph)


@pytest.mark.parametrize("case", PROGRAMS | single_operator_cases())
def test_function_bodies_are_encoded_as_onnx_encodes_them(case: str) -> None:
    for node in (PROGRAMS | single_operator_cases())[case]():
        name = function_name(node.op, node.attrs, len(node.inputs))
        body = function_bytes(name, len(node.inputs))
        function = onnx.FunctionProto.FromString(body)
        assert function.name == name
        assert function.SerializeToString(deterministic=True) == body


def test_file_round_trip_keeps_metadata(tmp_path: Path) -> None:
    graph = vit_like()
    graph.metadata = {"recipe": '{"bits": 8}', "labels": "Katze\nHund\t🐶"}
    path = tmp_path / "vit.onnx"
    artifact.save(graph, path)
    loaded = artifact.load(path)
    assert_equal(graph, loaded)
    inputs = random_inputs(graph, {"N": 3})
    wanted, found = interpret(graph, inputs), interpret(loaded, inputs)
    assert all((wanted[name] == found[name]).all() for name in wanted)


@pytest.mark.parametrize("flat", [False, True])
def test_no_float_anywhere(flat: bool) -> None:
    """Scans every message of the file with the onnx package, functions included."""
    model = artifact.to_onnx(vit_like(), flat=flat)
    integers = {onnx.TensorProto.BOOL, *schema.DTYPES}
    tensors = 0
    for message in walk(model):
        if isinstance(message, onnx.TensorProto):
            tensors += 1
            assert message.data_type in integers
        elif isinstance(message, onnx.TypeProto.Tensor):
            assert message.elem_type in integers
        elif isinstance(message, onnx.AttributeProto):
            assert message.type in {
                onnx.AttributeProto.INT,
                onnx.AttributeProto.INTS,
                onnx.AttributeProto.TENSOR,
            }
        elif isinstance(message, onnx.NodeProto) and message.op_type == "Cast":
            assert message.attribute[0].i in integers
    assert tensors > 20


def walk(message: object) -> list[object]:
    found = [message]
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.message_type is not None:
            for item in value if field.is_repeated else [value]:
                found += walk(item)
    return found


def test_flat_form_uses_standard_operators_alone() -> None:
    model = artifact.to_onnx(bert_like(), flat=True)
    assert not model.functions
    assert [entry.domain for entry in model.opset_import] == [""]
    assert {node.domain for node in model.graph.node} == {""}


def test_one_function_per_variant() -> None:
    model = artifact.to_onnx(vit_like())
    names = [function.name for function in model.functions]
    assert len(names) == len(set(names)) < len(model.graph.node)
    assert "attention_2_uint8" in names
    assert "reshape_0x9x48" in names
    assert "sum_m1" in names


def test_public_names_are_those_of_the_outputs() -> None:
    model = artifact.to_onnx(vit_like())
    assert [output.name for output in model.graph.output] == ["pooled", "logits", "label"]


def test_name_of_an_output_may_belong_to_another_value() -> None:
    graph = vit_like()
    graph.outputs = {"sum": graph.outputs["logits"], "label": graph.outputs["label"]}
    assert "sum" in graph.types
    loaded = artifact.load_bytes(content(graph))
    assert_equal(graph, loaded)


def test_two_outputs_cannot_be_one_value() -> None:
    graph = vit_like()
    graph.outputs["again"] = graph.outputs["logits"]
    with pytest.raises(ArtifactError, match="a node of its own"):
        artifact.to_onnx(graph)


def test_saving_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "program.onnx"
    path.write_bytes(b"old")
    broken = vit_like()
    broken.types[broken.outputs["label"]] = TensorType("int32", ("N",))
    with pytest.raises(VerifyError):
        artifact.save(broken, path)
    assert path.read_bytes() == b"old"
    artifact.save(vit_like(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["program.onnx"]
    artifact.load(path)


@pytest.mark.parametrize("target", ["missing/program.onnx", "."])
def test_unwritable_path_is_one_line(tmp_path: Path, target: str) -> None:
    with pytest.raises(ArtifactError, match="cannot write"):
        artifact.save(bert_like(), tmp_path / target)


def test_devices_are_not_replaced_by_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="not a regular file"):
        artifact.save(bert_like(), tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_metadata_of_the_format_is_reserved() -> None:
    graph = bert_like()
    graph.metadata["intformer.limits"] = "{}"
    with pytest.raises(ArtifactError, match="belongs to the format"):
        artifact.to_onnx(graph)


def test_golden_run_detects_a_changed_program() -> None:
    loaded = artifact.load_bytes(content(bert_like()))
    artifact.check_golden(loaded)
    name = next(n for n in loaded.constants if n.endswith("fc2.bias"))
    loaded.constants[name] = loaded.constants[name] + 4000
    with pytest.raises(VerifyError, match="outputs hash to"):
        artifact.check_golden(loaded)


def test_golden_run_checks_any_backend() -> None:
    loaded = artifact.load_bytes(content(vit_like()))
    artifact.check_golden(loaded, run=interpret)
    with pytest.raises(VerifyError, match="outputs hash to"):
        artifact.check_golden(
            loaded, run=lambda graph, x: dict.fromkeys(graph.outputs, x["pixels"])
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"seed": -1}',
        '{"seed": 1, "sizes": {"N": 1000000}, "inputs": "", "outputs": ""}',
    ],
)
def test_golden_record_is_not_trusted(text: str) -> None:
    graph = bert_like()
    graph.metadata[schema.KEY_GOLDEN] = text
    with pytest.raises(VerifyError, match="malformed"):
        artifact.check_golden(graph)


def test_golden_record_may_be_absent() -> None:
    with pytest.raises(VerifyError, match="save the program again"):
        artifact.check_golden(bert_like())


def test_golden_run_of_a_giant_is_refused() -> None:
    build = Builder()
    x = build.input("x", "uint8", ("N", 2**15, 2**14))
    build.output("y", build.node("slice", x, axis=-1, start=0, stop=1))
    with pytest.raises(VerifyError, match="a tensor of 536870912 numbers"):
        artifact.to_onnx(build.graph)


def test_generator_is_splitmix64() -> None:
    """The first outputs for seed 1234567 of the published C code."""
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(1234567, 3).tolist() == wanted


def test_golden_inputs_span_the_declared_ranges() -> None:
    graph = bert_like()
    inputs = golden_inputs(graph, {"N": 30, "S": 20})
    assert inputs["ids"].min() == 0
    assert inputs["ids"].max() == 49
    graph = Graph("integer", inputs={"x": TensorType("int64", ("N", 1000))})
    wide = golden_inputs(graph, {"N": 4})["x"]
    assert wide.min() < -(2**62)
    assert wide.max() > 2**62


def test_strict_decoder_reads_what_protocol_buffers_reads() -> None:
    saved = content(vit_like())
    model = onnx.ModelProto.FromString(saved)
    decoder = wire.Decoder()
    ours = decoder.decode("ModelProto", memoryview(saved))
    compare(decoder.decode("GraphProto", ours["graph"]), model.graph)
    assert [bytes(f) for f in ours["functions"]] == [f.SerializeToString() for f in model.functions]
    for key in ("ir_version", "producer_name", "producer_version"):
        assert ours[key] == getattr(model, key)


def compare(ours: object, theirs: object) -> None:
    if isinstance(ours, dict):
        for key, value in ours.items():
            compare(value, getattr(theirs, key))
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)  # type: ignore[arg-type]
        for a, b in zip(ours, theirs, strict=True):  # type: ignore[call-overload]
            compare(a, b)
    else:
        assert ours == theirs


@pytest.mark.parametrize("message", wire.FIELDS)
def test_decoder_table_agrees_with_onnx(message: str) -> None:
    kind = onnx
    for part in message.split("."):
        kind = getattr(kind, part)
    for number, (name, value) in wire.FIELDS[message].items():
        field = kind.DESCRIPTOR.fields_by_number[number]  # type: ignore[attr-defined]
        assert field.name == name
        assert field.is_repeated == value.startswith("*")


@pytest.mark.parametrize(
    ("op", "attrs", "operands", "name"),
    [
        ("linear", {}, 3, "linear"),
        ("linear16", {}, 3, "linear16"),
        ("sum", {"axis": -1}, 1, "sum_m1"),
        ("reshape", {"shape": (0, -1, 64)}, 1, "reshape_0xm1x64"),
        ("reshape", {"shape": ()}, 1, "reshape_none"),
        ("concat", {"axis": 1}, 3, "concat_1_of3"),
        ("attention", {"heads": 6, "dtype": "uint8"}, 3, "attention_6_uint8"),
        ("attention", {"heads": 6, "dtype": "uint8"}, 4, "attention_6_uint8_mask"),
        ("layer_norm", {"channels": 192, "dtype": "uint8"}, 3, "layer_norm_192_uint8"),
        (
            "patches",
            {"size": (32, 32), "kernel": (4, 4), "stride": (4, 4), "padding": (0, 0)},
            2,
            "patches_32x32_4x4_4x4_0x0",
        ),
    ],
)
def test_function_names_are_unambiguous(
    op: str, attrs: dict[str, object], operands: int, name: str
) -> None:
    assert function_name(op, attrs, operands) == name  # type: ignore[arg-type]
    assert parse_function_name(name, operands) == (op, attrs)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "softmax",
        "requantize",
        "requantize_",
        "requantize_float32_extra",
        "sum_-1",
        "sum_m0",
        "sum_01",
        "sum_1_",
        "reshape_0xx1",
        "attention_6_uint8_mask_mask",
        "concat_1_of2",
        "layer_norm_192",
        "sum_" + "9" * 400,
    ],
)
def test_other_names_are_no_functions(name: str) -> None:
    with pytest.raises(ArtifactError, match="unknown"):
        parse_function_name(name, 3)


def test_function_bodies_of_format_2_stay() -> None:
    """Files hold these bodies and loading compares them: another body is another format.

    If this fails because the arithmetic or its emitter changed on purpose, raise ``schema.FORMAT``
    once files of this format are in use; before that, put the new hash here.
    """
    total = hashlib.sha256()
    for model in (artifact.to_onnx(vit_like()), artifact.to_onnx(bert_like())):
        for function in sorted(model.functions, key=lambda f: f.name):
            total.update(function.SerializeToString(deterministic=True))
    assert total.hexdigest()[:16] == "3cc391da1242312f"


def test_kernels_of_any_size_are_not_written_out() -> None:
    with pytest.raises(ArtifactError, match="4096 positions"):
        parse_function_name("patches_9999x9999_100x100_1x1_0x0", 2)


def test_numbers_in_names_are_limited() -> None:
    with pytest.raises(ArtifactError, match="beyond"):
        parse_function_name("slice_0_0_99999999999", 1)


def test_saving_leaves_the_graph_alone() -> None:
    graph = vit_like()
    before = copy.deepcopy(graph)
    content(graph)
    assert_equal(graph, readable(before))
    assert list(graph.types) == list(before.types)
    assert graph.metadata == before.metadata


def test_node_names_carry_module_paths() -> None:
    model = artifact.to_onnx(vit_like())
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith("blocks.0.attn#") for name in names)
    loaded = artifact.load_bytes(model.SerializeToString())
    assert any(node.name == "blocks.0.attn" for node in loaded)
    assert all(isinstance(node, Node) for node in loaded)


def test_limits_and_ranges_are_json() -> None:
    entries = {e.key: e.value for e in artifact.to_onnx(bert_like()).metadata_props}
    assert json.loads(entries["intformer.limits"]) == {"N": 256, "S": 20}
    assert json.loads(entries["intformer.input_ranges"])["ids"] == [0, 49]
    assert entries["intformer.format"] == "2"
