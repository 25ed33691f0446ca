"""Whatever a user gets wrong is one clear line and a status, and leaves no file behind."""

import numpy as np
import onnx
import pytest
from cli_runner import intformer

from intformer.program import Program
from tiny_models import encoded, integer_classifier, picture, write_parquet
from tiny_onnx import write_float_model

BAD_INPUT, FAILED = 2, 1


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "tiny.onnx"
    Program(integer_classifier()).save(path)
    return path


@pytest.fixture
def model(tmp_path):
    return write_float_model(tmp_path / "float.onnx")


@pytest.fixture
def data(tmp_path):
    return write_parquet(tmp_path / "data.parquet", labels=[0] * 12)


def refused(status, *arguments):
    outcome = intformer(*arguments)
    assert outcome.status == status, (outcome.stdout, outcome.stderr)
    return outcome.line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["verify"], "Missing argument 'FILE'"),
        (["verify", "a.onnx", "--loud"], "No such option: --loud"),
        (["quantize", "zoo:x", "--data", "y"], "Missing option '--out'"),
        (["eval", "a.onnx"], "Missing option '--data'"),
        (["eval", "a.onnx", "--data", "x", "--limit", "0"], "Invalid value for '--limit'"),
        (["eval", "a.onnx", "--data", "x", "--limit", "few"], "Invalid value for '--limit'"),
        (["export", "a.onnx", "-o", "b.onnx"], "choose the form to write: --flat"),
    ],
)
def test_usage(arguments, message):
    assert message in refused(BAD_INPUT, *arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "0.5"], "its images have 3 channels"),
        (["--std", "1,2,3,4"], "as many numbers, not 4"),
        (["--std", "1,0,1"], "a std of 0.0; it must be positive"),
        (["--mean", "half"], "--mean half: give a number per channel, such as 0.5,0.5,0.5"),
    ],
)
def test_normalisation(options, message, model, data, tmp_path):
    command = ("quantize", model, "--data", data, "-o", tmp_path / "x.onnx")
    assert message in refused(BAD_INPUT, *command, *options)
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    "options", [["--beam", "1"], ["--pair", "en-de"], ["--split", "x"], ["--tokenizer", "x"]]
)
def test_options_that_a_program_has_no_use_for(options, program, data):
    line = refused(BAD_INPUT, "eval", program, "--data", data, *options)
    assert f"{options[0]} is for translation" in line and "this is one for image" in line


@pytest.mark.parametrize("verb", ["verify", "inspect"])
def test_missing_program(verb):
    assert "nowhere.onnx: no such file" in refused(BAD_INPUT, verb, "nowhere.onnx")


def test_folder_as_program(tmp_path):
    assert "is a folder" in refused(BAD_INPUT, "verify", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rest", b"\x80\x04pickle", b"\x89PNG\r\n"])
def test_file_that_is_no_program(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    assert "x.onnx" in refused(BAD_INPUT, "verify", tmp_path / "x.onnx")


def test_damaged_file(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"hello")
    assert "x.onnx" in refused(FAILED, "verify", tmp_path / "x.onnx")


def test_truncated_program(program):
    program.write_bytes(program.read_bytes()[:-100])
    assert "tiny.onnx" in refused(FAILED, "verify", program)


def test_float_model_as_program(model):
    assert "must be quantized first" in refused(BAD_INPUT, "verify", model)


def test_program_that_overflows(program):
    stored = onnx.load(program)
    (layer,) = (node for node in stored.graph.node if node.op_type == "linear")
    (bias,) = (i for i in stored.graph.initializer if i.name == layer.input[2])
    bias.raw_data = np.full(4, 2**31 - 1, np.int32).tobytes()
    onnx.save(stored, program)
    assert "does not fit int32" in refused(FAILED, "verify", program)


# -- sources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("something", "is no model source; give zoo:NAME, timm:NAME"),
        ("zoo:unicorn", "zoo:unicorn: no such model"),
        ("hf:/nowhere", "no config.json in this folder"),
        ("nowhere.onnx", "nowhere.onnx"),
    ],
)
def test_bad_source(tmp_path, data, source, message):
    arguments = ("quantize", source, "--data", data, "-o", tmp_path / "out.onnx")
    assert message in refused(BAD_INPUT, *arguments)
    assert not (tmp_path / "out.onnx").exists()


def test_unsupported_operator_names_it(tmp_path, data):
    model = write_float_model(tmp_path / "odd.onnx", activation="Softplus")
    line = refused(BAD_INPUT, "quantize", model, "--data", data, "-o", tmp_path / "out.onnx")
    assert "Softplus" in line


def test_weights_for_a_zoo_model(tmp_path, data):
    line = refused(BAD_INPUT, "quantize", "zoo:vit_cifar10", "--weights", "x.safetensors",
                   "--data", data, "-o", tmp_path / "out.onnx")  # fmt: skip
    assert "timm:NAME sources only" in line


# -- recipes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("bits = 8", "unknown key 'bits'"),
        ("weight_bits = 7", "weight_bits = 7 is not allowed"),
        ("weight_bits = ", "cannot read recipe"),
        ('[overrides."["]\nweight_bits = 8', "is no regular expression"),
    ],
)
def test_bad_recipe(tmp_path, model, data, content, message):
    (tmp_path / "r.toml").write_text(content)
    line = refused(BAD_INPUT, "quantize", model, "--data", data, "-o", tmp_path / "out.onnx",
                   "--recipe", tmp_path / "r.toml")  # fmt: skip
    assert message in line


def test_unknown_recipe(tmp_path, model, data):
    line = refused(BAD_INPUT, "quantize", model, "--data", data, "-o", tmp_path / "out.onnx",
                   "--recipe", "magic")  # fmt: skip
    assert "unknown recipe 'magic': use intformer, naive" in line


# -- data ------------------------------------------------------------------------------------------


def calibrating(model, data, out):
    """The error of quantize; it must leave no file behind."""
    folder = out.parent
    folder.mkdir(exist_ok=True)
    outcome = intformer("quantize", model, "--data", data, "-o", out)
    assert outcome.status == BAD_INPUT, (outcome.stdout, outcome.stderr)
    assert list(folder.iterdir()) == []
    return outcome.line


def test_missing_data(tmp_path, model):
    line = calibrating(model, tmp_path / "nowhere", tmp_path / "new" / "out.onnx")
    assert "nowhere: no such file or folder" in line


def test_empty_folder(tmp_path, model):
    (tmp_path / "empty").mkdir()
    line = calibrating(model, tmp_path / "empty", tmp_path / "new" / "out.onnx")
    assert "no images in this folder" in line


def test_unreadable_image(tmp_path, model):
    images = [encoded(picture(0)), encoded(picture(1))[:60], encoded(picture(2))]
    path = write_parquet(tmp_path / "x.parquet", images=images)
    line = calibrating(model, path, tmp_path / "new" / "out.onnx")
    assert "x.parquet row 1: not a readable image" in line


def test_empty_image(tmp_path, model):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    line = calibrating(model, tmp_path / "pictures", tmp_path / "new" / "out.onnx")
    assert "a.png: the image is empty" in line


def test_missing_column(tmp_path, model):
    path = write_parquet(tmp_path / "x.parquet", column="photo")
    line = calibrating(model, path, tmp_path / "new" / "out.onnx")
    assert "no column 'image'; it has photo" in line


def test_text_for_an_image_model(tmp_path, model):
    (tmp_path / "x.csv").write_text("a,b,1\n")
    line = calibrating(model, tmp_path / "x.csv", tmp_path / "new" / "out.onnx")
    assert "not image data" in line


def test_label_out_of_range(tmp_path, program):
    path = write_parquet(tmp_path / "x.parquet", 3, labels=[0, 4, 1])
    line = refused(BAD_INPUT, "eval", program, "--data", path)
    assert "row 1: label 4 is out of range: the program has 4 classes" in line


def test_eval_of_unlabelled_pictures_alone(tmp_path, program):
    path = write_parquet(tmp_path / "x.parquet", 3)
    assert intformer("eval", program, "--data", path, "--json").json["top1"] is None


def test_against_another_model(tmp_path, program, data):
    line = refused(BAD_INPUT, "compare", program, "--against", write_float_model(
        tmp_path / "f.onnx"), "--data", data)  # fmt: skip
    assert "not made from this model" in line


# -- inputs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 9, 8, 3), np.uint8), "must have shape (N, 8, 8, 3)"),
        (np.zeros((1, 3, 8, 8), np.uint8), "pixels are channels-last"),
        (np.zeros((1, 8, 8, 3), np.float32), "must be integers (uint8), got float32"),
        (np.full((1, 8, 8, 3), 256, np.int64), "value 256 is outside [0, 255]"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is empty"),
        (np.zeros(5, np.uint8), "must have shape"),
        (np.array([["text"]], dtype="U8"), "must"),
    ],
)
def test_bad_array(tmp_path, program, array, message):
    np.save(tmp_path / "x.npy", array)
    assert message in refused(BAD_INPUT, "run", program, "-i", tmp_path / "x.npy")


def test_pickled_array_is_refused(tmp_path, program):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}]), allow_pickle=True)
    line = refused(BAD_INPUT, "run", program, "-i", tmp_path / "x.npy")
    assert "not a readable NumPy file" in line


def test_damaged_array(tmp_path, program):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 damaged")
    line = refused(BAD_INPUT, "run", program, "-i", tmp_path / "x.npz")
    assert "not a readable NumPy file" in line


def test_npz_with_another_name(tmp_path, program):
    np.savez(tmp_path / "x.npz", photos=np.zeros((1, 8, 8, 3), np.uint8))
    assert "inputs" in refused(BAD_INPUT, "run", program, "-i", tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["nowhere.jpg", "nowhere.npy"])
def test_missing_input(program, name):
    assert name in refused(BAD_INPUT, "run", program, "-i", name)


def test_input_that_is_no_image(tmp_path, program):
    (tmp_path / "x.jpg").write_text("words")
    line = refused(BAD_INPUT, "run", program, "-i", tmp_path / "x.jpg")
    assert "x.jpg: not a readable image" in line


def test_outputs_into_a_wrong_place(tmp_path, program):
    np.save(tmp_path / "x.npy", np.asarray(picture(0)))
    run = ("run", program, "-i", tmp_path / "x.npy", "--save")
    assert "kept in a .npz file" in refused(BAD_INPUT, *run, tmp_path / "x.txt")
    assert "cannot be written" in refused(BAD_INPUT, *run, tmp_path / "nowhere" / "x.npz")


@pytest.mark.parametrize("out", ["nowhere/x.onnx", "."])
def test_program_into_a_wrong_place(tmp_path, program, out):
    line = refused(BAD_INPUT, "export", program, "--flat", "-o", tmp_path / out)
    assert "cannot be written" in line or "is a folder" in line


def test_defect_is_one_line_and_a_traceback_on_demand(program, monkeypatch):
    def broken(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("intformer.ir.verify.verify", broken)
    monkeypatch.setattr("intformer.program.verify", broken)
    outcome = intformer("verify", program)
    assert outcome.status == 3
    assert "a defect of intformer: RuntimeError: two lines" in outcome.line
    monkeypatch.setenv("INTFORMER_DEBUG", "1")
    from typer.testing import CliRunner

    from intformer.cli.main import app

    shown = CliRunner().invoke(app, ["verify", str(program)])
    assert isinstance(shown.exception, RuntimeError)


def test_missing_package_says_what_to_install(program, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("intformer.program.load", missing)
    assert "pip install 'intformer[torch]'" in refused(BAD_INPUT, "verify", program)


def test_interrupt(program, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("intformer.program.load", interrupted)
    assert intformer("verify", program).status == 130


def test_cut_of_what_is_no_onnx_file(tmp_path):
    arguments = ["quantize", "zoo:vit_cifar10", "--data", "photographs", "--output", "head"]
    message = refused(BAD_INPUT, *arguments, "-o", tmp_path / "x.onnx")
    assert "--output head: only a float .onnx file can be cut, not zoo:vit_cifar10" in message


def test_override_that_matches_no_layer(tmp_path):
    (tmp_path / "r.toml").write_text('[overrides."blocks.0.mlp.fc7"]\nweight_bits = 4\n')
    arguments = ["quantize", "zoo:vit_cifar10", "--data", "photographs", "--samples", 2]
    message = refused(
        BAD_INPUT, *arguments, "--recipe", tmp_path / "r.toml", "-o", tmp_path / "x.onnx"
    )
    assert "override 'blocks.0.mlp.fc7' matches no layer" in message
    assert "near it: " in message and "blocks.0.mlp.fc1" in message
