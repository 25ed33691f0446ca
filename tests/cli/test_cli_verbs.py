"""Each verb on small real models and data, from the command line."""

import json

import numpy as np
import pytest
from cli_runner import intformer
from PIL import Image

from intformer.program import Program, load
from intformer.reference import interpret
from tiny_models import encoded, integer_classifier, picture, write_parquet
from tiny_onnx import write_float_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A float model, pictures, and the program made from both."""
    folder = tmp_path_factory.mktemp("verbs")
    write_float_model(folder / "float.onnx")
    write_parquet(folder / "data.parquet", 48, labels=[i % 4 for i in range(48)])
    made = intformer(
        "quantize", folder / "float.onnx", "--data", folder / "data.parquet", "--samples", 32,
        "-o", folder / "int.onnx", "--json",
    )  # fmt: skip
    assert made.status == 0, made.stderr
    (folder / "quantize.json").write_text(made.stdout)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "tiny.onnx"
    Program(integer_classifier()).save(path)
    return path


def test_quantize_reports_and_leaves_nothing_but_the_program(folder):
    report = json.loads((folder / "quantize.json").read_text())
    assert report["program"] == str(folder / "int.onnx")
    assert report["bytes"] == (folder / "int.onnx").stat().st_size
    assert report["accumulator_bits"] >= 16
    assert {p.name for p in folder.glob("*.onnx")} == {"float.onnx", "int.onnx"}
    assert not list(folder.glob(".*"))


def test_quantize_table(folder, tmp_path):
    done = intformer(
        "quantize", folder / "float.onnx", "--data", folder / "data.parquet", "--samples", 8,
        "-o", tmp_path / "x.onnx", "--recipe", "naive",
    )  # fmt: skip
    assert done.status == 0
    assert "Integer program" in done.stdout
    assert "calibrating" in done.stderr


def test_quantize_flat_runs_in_onnx_runtime_with_the_same_integers(folder, tmp_path):
    import onnxruntime

    exported = intformer(
        "export", folder / "int.onnx", "--flat", "-o", tmp_path / "f.onnx", "--json"
    )
    assert exported.json["form"] == "flat"
    pixels = np.stack([np.asarray(picture(i)) for i in range(6)])
    np.save(tmp_path / "x.npy", pixels)
    ours = intformer("run", folder / "int.onnx", "-i", tmp_path / "x.npy", "--json").json
    session = onnxruntime.InferenceSession(str(tmp_path / "f.onnx"))
    (name,) = (i.name for i in session.get_inputs())
    outputs = [o.name for o in session.get_outputs()]
    theirs = dict(zip(outputs, session.run(None, {name: pixels}), strict=True))["logits"]
    for row, result in enumerate(ours["results"]):
        assert {t["label"]: t["logit"] for t in result["top"]} == dict(enumerate(theirs[row]))


def test_quantize_says_how_much_data_it_saw(folder, tmp_path):
    command = ("quantize", folder / "float.onnx", "--data", folder / "data.parquet")
    few = intformer(*command, "--samples", 8, "-o", tmp_path / "x.onnx", "--recipe", "naive")
    assert "8 inputs of" in few.stdout and "all there are" not in few.stdout
    all_of_them = intformer(*command, "-o", tmp_path / "x.onnx", "--recipe", "naive")
    assert "48 inputs of" in all_of_them.stdout and "all there are" in all_of_them.stdout
    assert json.loads((folder / "quantize.json").read_text())["samples"] == 32


def test_images_are_normalised_as_the_command_says(folder, tmp_path):
    """The program keeps it, so the float model is measured in the same way."""
    data, other = folder / "data.parquet", tmp_path / "half.onnx"
    numbers = ("--mean", "0.5,0.5,0.5", "--std", "0.25,0.5,0.5")
    made = intformer(
        "quantize", folder / "float.onnx", "--data", data, *numbers, "-o", other, "--json"
    )
    assert made.status == 0, made.stderr
    origin = json.loads(load(other).graph.metadata["origin"])
    assert origin["mean"] == [0.5, 0.5, 0.5] and origin["std"] == [0.25, 0.5, 0.5]
    pixels = np.stack([np.asarray(picture(i)) for i in range(12)])
    wanted = _float_logits(folder / "float.onnx", (pixels / 255 - 0.5) / [0.25, 0.5, 0.5])
    assert _correlation(load(other), pixels, wanted) > 0.99
    assert _correlation(load(folder / "int.onnx"), pixels, wanted) < 0.97
    measured = intformer(
        "eval", other, "--data", data, "--against", folder / "float.onnx", "--json"
    )
    assert measured.json["agreement"] > 90


def _float_logits(model, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model))
    return session.run(None, {"images": images.transpose(0, 3, 1, 2).astype(np.float32)})[0]


def _correlation(program, pixels, wanted):
    found = program.run({next(iter(program.graph.inputs)): pixels})["logits"]
    return np.corrcoef(np.ravel(found), np.ravel(wanted))[0, 1]


def test_verify(folder):
    proof = intformer("verify", folder / "int.onnx", "--json").json
    assert proof["proved"] is True
    assert proof["values"] > 5
    assert "integers only" in intformer("verify", folder / "int.onnx").stdout


def test_verify_json_of_a_rejected_file_tells_the_reason(folder, tmp_path):
    content = (folder / "int.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    result = intformer("verify", tmp_path / "cut.onnx", "--json")
    assert result.status == 1
    assert result.json["proved"] is False
    assert "cut.onnx" in result.json["reason"]


def test_inspect(folder):
    found = intformer("inspect", folder / "int.onnx", "--json", "--nodes", "--scales").json
    assert found["operators"]["linear"] == 3
    assert found["elements_by_class"]["weights"] == 48 * 16 + 16 * 32 + 32 * 4
    assert found["bytes_by_class"]["weights"] == 48 * 16 + 16 * 32 + 32 * 4
    assert found["recipe"]["name"] == "intformer"
    assert found["inputs"] == {"pixels": "uint8[N, 8, 8, 3]"}
    assert found["scales"]["output logits"][0] > 0
    assert any("linear(" in line for line in found["nodes"])
    for entry in found["widest"]:
        assert -(2**63) <= entry["range"][0] <= entry["range"][1] < 2**63


def test_inspect_tables(folder):
    shown = intformer("inspect", folder / "int.onnx", "--nodes", "--scales").stdout
    for heading in ("Program", "Operators", "Size", "Proved ranges", "Recipe", "Origin", "Scales"):
        assert heading in shown
    assert "graph integer" in shown


def test_inspect_layers(folder):
    found = intformer("inspect", folder / "int.onnx", "--json", "--layers").json["products"]
    assert [(p["op"], p["depth"], p["columns"]) for p in found] == [
        ("linear", 48, 16),
        ("linear", 16, 32),
        ("linear", 32, 4),
    ]
    for product in found:
        assert product["forms"]["avx512vnni"] == "vnni"
        group = product["group"]
        assert product["forms"]["avx2"] == (f"pairs{group}" if group > 1 else "split")
    shown = intformer("inspect", folder / "int.onnx", "--layers").stdout
    assert "Linear layers" in shown and found[0]["forms"]["avx2"] in shown


def test_eval_against_float(folder):
    data = folder / "data.parquet"
    done = intformer("eval", folder / "int.onnx", "--data", data, "--against",
                     folder / "float.onnx", "--json")  # fmt: skip
    assert set(done.json) >= {"top1", "float_top1", "agreement"}
    assert done.json["images"] == 48
    assert done.json["agreement"] >= 90
    assert abs(done.json["top1"] - done.json["float_top1"]) <= 10
    limited = intformer("eval", folder / "int.onnx", "--data", data, "--limit", 5, "--threads", 1)
    assert limited.status == 0
    assert "top1" in limited.stdout


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A small Hugging Face ViT with names for its classes, and pictures."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    names = dict(enumerate(["ant", "bee", "cat"]))
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=16, patch_size=4, num_labels=3, id2label=names, initializer_range=0.2,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder / "model")
    images = [encoded(picture(row, (16, 16))) for row in range(24)]
    write_parquet(folder / "data.parquet", images=images)
    return folder


def quantized(vit, out, *options):
    done = intformer("quantize", f"hf:{vit / 'model'}", "--data", vit / "data.parquet", "-o", out,
                     "--json", *options)  # fmt: skip
    assert done.status == 0, done.stderr
    return out


def compared(vit, program, *options):
    return intformer("compare", program, "--against", f"hf:{vit / 'model'}", "--data",
                     vit / "data.parquet", *options)  # fmt: skip


def test_compare_and_the_recipe_fragment_it_prints(vit, tmp_path):
    program = quantized(vit, tmp_path / "a.onnx")
    layers = compared(vit, program, "--json").json["layers"]
    ratios = [layer["snr_db"] for layer in layers if layer["snr_db"] is not None]
    assert ratios == sorted(ratios)
    assert ratios[len(ratios) // 2] > 20
    shown = compared(vit, program).stdout
    assert "worst first" in shown
    assert "activation_bits = 16" in shown
    fixes = dict.fromkeys(layer["fix"] for layer in layers if layer["fix"])
    (tmp_path / "better.toml").write_text("\n".join(fixes))
    better = quantized(vit, tmp_path / "b.onnx", "--recipe", tmp_path / "better.toml")
    assert "linear16" in intformer("inspect", better, "--json").json["operators"]


def test_class_names_travel_with_the_program(vit, tmp_path):
    program = quantized(vit, tmp_path / "a.onnx")
    picture(1, (30, 20)).save(tmp_path / "a.png")
    (result,) = intformer("run", program, "-i", tmp_path / "a.png", "--json").json["results"]
    assert {t["class"] for t in result["top"]} == {"ant", "bee", "cat"}


def test_run_image_gives_the_classes_of_the_reference(classifier, tmp_path):
    picture(3, (40, 30)).save(tmp_path / "a.png")
    Image.open(tmp_path / "a.png").save(tmp_path / "b.jpg")
    done = intformer(
        "run", classifier, "-i", tmp_path / "a.png", "-i", tmp_path / "b.jpg", "--json"
    )
    first, second = done.json["results"]
    assert first["input"] == str(tmp_path / "a.png")
    assert second["input"] == str(tmp_path / "b.jpg")
    assert [t["class"] for t in first["top"]] != []
    scores = [t["logit"] for t in first["top"]]
    assert scores == sorted(scores, reverse=True)


def test_run_array_with_and_without_batch_axis(classifier, tmp_path):
    pixels = np.asarray(picture(5))
    np.save(tmp_path / "one.npy", pixels)
    np.savez(tmp_path / "many.npz", pixels=np.stack([pixels, 255 - pixels]))
    logits = interpret(integer_classifier(), {"pixels": pixels[None]})["logits"][0]
    one = intformer("run", classifier, "-i", tmp_path / "one.npy", "--json").json["results"]
    assert {t["label"]: t["logit"] for t in one[0]["top"]} == dict(enumerate(logits.tolist()))
    many = intformer("run", classifier, "-i", tmp_path / "many.npz", "--json").json["results"]
    assert many[0]["top"] == one[0]["top"]
    assert many[1]["input"].endswith("many.npz [1]")
    assert many[1]["top"] != one[0]["top"]


def test_run_keeps_outputs(classifier, tmp_path):
    np.save(tmp_path / "one.npy", np.asarray(picture(5)))
    done = intformer("run", classifier, "-i", tmp_path / "one.npy", "--save", tmp_path / "o.npz")
    assert "Predictions" in done.stdout
    kept = np.load(tmp_path / "o.npz")["logits"]
    assert (kept.dtype, kept.shape) == (np.int16, (1, 4))


def test_run_of_an_encoder_describes_outputs(tmp_path):
    graph = integer_classifier()
    graph.outputs = {"features": graph.outputs["logits"], "sums": "head.linear"}
    Program(graph).save(tmp_path / "x.onnx")
    np.save(tmp_path / "one.npy", np.asarray(picture(5)))
    outputs = intformer("run", tmp_path / "x.onnx", "-i", tmp_path / "one.npy", "--json").json[
        "outputs"
    ]
    logits = interpret(graph, {"pixels": np.asarray(picture(5))[None]})["features"]
    assert outputs["features"]["values"] == logits.tolist()
    assert len(outputs["sums"]["sha256"]) == 64
    assert "sha256" in intformer("run", tmp_path / "x.onnx", "-i", tmp_path / "one.npy").stdout


def test_doctor():
    found = intformer("doctor", "--json").json
    assert found["machine"]["cores"] >= 1
    assert found["packages"]["numpy"]
    assert found["runtime"]["backend"] in ("native", "reference")
    shown = intformer("doctor").stdout
    assert "Packages" in shown
    assert found["machine"]["processor"].split()[0] in shown


def test_folder_classes_and_parquet_agree(classifier, tmp_path):
    labels = [i % 4 for i in range(12)]
    write_parquet(tmp_path / "x.parquet", labels=labels)
    for row, label in enumerate(labels):
        (tmp_path / "tree" / f"class{label}").mkdir(parents=True, exist_ok=True)
        path = tmp_path / "tree" / f"class{label}" / f"{row:02}.png"
        path.write_bytes(encoded(picture(row)))
    by_file, by_folder = (
        intformer("eval", classifier, "--data", tmp_path / name, "--json").json["top1"]
        for name in ("x.parquet", "tree")
    )
    assert by_file == by_folder
