"""The verbs that need a program and nothing else; the wheel's tests run this without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from intformer.program import Program
from intformer.reference import interpret
from programs import vit_like


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    Program(vit_like()).save(folder / "vit.onnx")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    np.savez(folder / "x.npz", pixels=pixels)
    return folder


def command(folder, *arguments):
    """Standard output of the command, run in an empty place."""
    (folder / "empty").mkdir(exist_ok=True)
    line = [sys.executable, "-m", "intformer.cli.main", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder / "empty")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_doctor_reports_kernels_and_missing_packages(files):
    found = json.loads(command(files, "doctor", "--json"))
    assert found["runtime"]["backend"] in ("native", "reference")
    assert found["packages"]["numpy"] == np.__version__


def test_verify_and_inspect(files):
    assert "proved" in command(files, "verify", str(files / "vit.onnx")).lower()
    assert "attention" in command(files, "inspect", str(files / "vit.onnx"))


def test_run_writes_what_the_reference_computes(files):
    out = files / "y.npz"
    command(
        files, "run", str(files / "vit.onnx"), "--input", str(files / "x.npz"), "--save", str(out)
    )
    with np.load(files / "x.npz") as inputs, np.load(out) as made:
        wanted = interpret(vit_like(), dict(inputs))
        assert set(made) == set(wanted)
        assert all(np.array_equal(made[name], wanted[name]) for name in wanted)
