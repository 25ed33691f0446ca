"""``intformer bench`` on models that are measured in seconds."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from intformer.cli.main import app
from intformer.evaluate.bench.engines import PEERS, base
from intformer.evaluate.bench.job import Job
from intformer.evaluate.bench.prepare import random_inputs
from intformer.evaluate.bench.process import EngineError, Process
from intformer.evaluate.bench.runner import cosine, same_label
from intformer.ir.graph import Graph, TensorType
from intformer.program import Program
from tiny_models import integer_classifier
from tiny_onnx import write_float_model

QUICK = ("--quick", "--threads", "1", "--batch", "1,3")


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    return write_float_model(tmp_path_factory.mktemp("bench") / "float.onnx")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "tiny.onnx"
    Program(integer_classifier()).save(path)
    return path


@pytest.fixture(scope="module")
def measured(float_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    done = bench(
        float_model, *QUICK, "--peers", "ort,torch", "--levels", "portable", "--json",
        "--markdown", folder / "bench.md", "--plot", folder / "bench.svg",
        "--report", folder / "bench.html",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout), folder


def test_every_engine_has_a_row_per_configuration(measured):
    found, _ = measured
    rows = [(row["engine"], row["threads"], row["batch"]) for row in found["rows"]]
    engines = ["intformer", "intformer@portable", "ort", "torch"]
    assert rows == [(engine, 1, batch) for batch in (1, 3) for engine in engines]
    assert set(found) >= {"rows", "ratios", "ratios_by_variant", "losses", "machine", "versions"}


def test_rows_hold_times_memory_and_agreement(measured):
    found, _ = measured
    for row in found["rows"]:
        if row["engine"] == "torch":
            continue
        assert 0 < row["fastest_ms"] <= row["ms"] < 1000
        assert row["runs"] >= 2
        assert 10 < row["memory_mb"] < 2000
        assert row["first_result_ms"] > 0
        assert row["agreement"] > (0.99 if row["engine"] == "ort" else 0.9)
        assert 0 <= row["same_label"] <= 1


def test_ratios_and_the_peer_that_cannot_run(measured):
    found, _ = measured
    assert found["ratios"]["fastest_float"] > 0
    assert found["ratios"]["fastest_int8"] is None
    problems = {row["problem"] for row in found["rows"] if row["engine"] == "torch"}
    assert problems == {"needs a PyTorch module; this source is an ONNX file"}


def test_documents(measured):
    _, folder = measured
    text = (folder / "bench.md").read_text()
    assert "| intformer | int8 |" in text and "fastest float32 engine" in text
    assert (folder / "bench.svg").read_text().lstrip().startswith("<?xml")
    page = (folder / "bench.html").read_text()
    assert "<svg" in page and "http-equiv" not in page and "<td>intformer</td>" in page


def test_program_alone_and_a_peer_that_is_absent(program, monkeypatch):
    known = base._version
    monkeypatch.setattr(base, "_version", lambda d: None if d == "openvino" else known(d))
    done = bench(program, *QUICK, "--peers", "ort,openvino")
    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "OpenVINO: not installed: pip install openvino" in text
    assert "ONNX Runtime: needs the float model; name it with --against" in text


def test_program_against_a_source(program, float_model):
    done = bench(program, *QUICK, "--peers", "ort", "--against", float_model, "--json")
    assert done.exit_code == 0, done.stderr
    assert '"fastest_float"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("arch:deit_tinny",), "did you mean deit_tiny?"),
        (("missing.onnx",), "missing.onnx"),
        (("arch:vit_nano", "--threads", "0"), "--threads 0"),
        (("arch:vit_nano", "--threads", "4096"), "--threads 4096"),
        (("arch:vit_nano", "--batch", "1,x"), "--batch 1,x"),
        (("arch:vit_nano", "--batch", "2,2"), "different numbers"),
        (("arch:vit_nano", "--peers", "tensorflow"), "no engine 'tensorflow'"),
        (("arch:vit_nano", "--levels", "avx9"), "no level 'avx9'"),
        (("arch:vit_nano", "--markdown", "no/such/x.md"), "no folder no/such"),
        (("arch:vit_nano", "--against", "arch:vit_nano"), "--against is for programs"),
        (("nonsense",), "'nonsense' is no model source"),
    ],
)
def test_bad_arguments_are_one_line(arguments, said):
    done = bench(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert said in line


def test_failures_in_an_engine_are_errors_of_one_line(tmp_path):
    Job(tmp_path, tmp_path / "none.onnx", "logits", False).save()
    process = Process.of_engine(Job.load(tmp_path), "intformer", 1)
    try:
        with pytest.raises(EngineError, match=r"none\.onnx"):
            process.ask("load", batch=1)
    finally:
        process.close()


def test_a_process_that_dies_says_so(tmp_path):
    process = Process.of_engine(Job(tmp_path, tmp_path / "x", "y", False), "intformer", 1)
    with pytest.raises(EngineError, match="its process ended with status 1"):
        process.ask("load", batch=1)
    process.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's help")
def test_workers_end_with_the_benchmark_even_when_stopped(tmp_path):
    Job(tmp_path, tmp_path / "none.onnx", "logits", False).save()
    starter = (
        "from pathlib import Path; from intformer.evaluate.bench.job import Job; "
        "from intformer.evaluate.bench.process import EngineError, Process; import os\n"
        f"process = Process.of_engine(Job.load(Path({str(tmp_path)!r})), 'ort', 1)\n"
        "process.ask('prepare')\n"  # answered, so it is stopped now
        "print(process._child.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True)
    worker = Path(f"/proc/{int(done.stdout)}")
    for _ in range(100):
        if not worker.exists() or "Z" in (worker / "stat").read_text().split()[2]:
            return
        time.sleep(0.05)
    pytest.fail("the worker outlives the benchmark")


def test_every_peer_names_its_packages():
    assert all(engine.packages and engine.title for engine in PEERS.values())
    ghost = base.Engine("ghost", "Ghost", "int8", ("no-such-distribution",), lambda *_: None)
    assert ghost.missing() == "not installed: pip install no-such-distribution"
    assert ghost.versions() == {}


def test_agreement():
    wanted = np.array([[1.0, 2.0], [3.0, 0.0]])
    assert cosine(2 * wanted, wanted) == pytest.approx(1)
    assert cosine(np.array([[2.0, -1.0], [3.0, 0.0]]), wanted) == pytest.approx(0.5)
    assert same_label(np.array([[0, 5], [0, 5]]), wanted) == 0.5
    assert same_label(np.zeros((2, 3, 4)), np.zeros((2, 3, 4))) is None


def test_random_inputs_fit_and_are_not_constant():
    graph = Graph("integer", limits={"N": 8, "S": 64})
    for name, shape in {"input_ids": ("N", "S"), "attention_mask": ("N", "S")}.items():
        graph.inputs[name] = graph.types[name] = TensorType("int64", shape)
    graph.input_ranges["input_ids"] = (0, 99)
    feed = random_inputs(graph, 4, 16)
    assert feed["input_ids"].shape == (4, 16)
    assert feed["input_ids"].min() >= 1 and feed["input_ids"].max() <= 99
    assert len(np.unique(feed["input_ids"])) > 20
    assert (feed["attention_mask"] == 1).all()
    pixels = random_inputs(integer_classifier(), 4, 16)["pixels"]
    assert pixels.shape == (4, 8, 8, 3) and pixels.dtype == np.uint8
    assert pixels.std() > 30


def test_further_recipes_are_measured_in_the_same_run(float_model):
    done = bench(
        float_model, "--quick", "--threads", 1, "--batch", 1, "--peers", "none",
        "--also", "naive", "--levels", "portable", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    names = ["intformer", "intformer@portable", "intformer[naive]", "intformer[naive]@portable"]
    assert [row["engine"] for row in found["rows"]] == names
    assert set(found["ratios_by_variant"]) == {"@portable", "[naive]", "[naive]@portable"}
    best = {row["engine"]: row["agreement"] for row in found["rows"]}
    assert best["intformer"] == best["intformer@portable"] != best["intformer[naive]"]


def test_further_recipes_must_exist(float_model):
    done = bench(float_model, *QUICK, "--also", "nonsense")
    assert done.exit_code == 2 and "unknown recipe 'nonsense'" in done.stderr
