"""Runs the scripts in ``examples/`` as a reader would."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import intformer

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: Path) -> str:
    command = [sys.executable, EXAMPLES / name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The program of the first example, and what the example printed."""
    path = tmp_path_factory.mktemp("examples") / "tiny.onnx"
    return path, run("quantize_module.py", path)


def test_a_module_becomes_a_program_close_to_it(made: tuple[Path, str]) -> None:
    path, printed = made
    (ratio,) = (line for line in printed.splitlines() if line.startswith("signal to noise"))
    assert float(ratio.split()[-2]) > 25
    assert intformer.load(path).verify().accumulator_bits <= 32


def test_onnx_runtime_prints_the_bytes_of_intformer(made: tuple[Path, str]) -> None:
    path, _ = made
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    found = intformer.load(path).run({"pixels": pixels})
    printed = run("run_in_onnxruntime.py", path)
    for name, integers in found.items():
        digest = hashlib.sha256(integers.tobytes()).hexdigest()[:16]
        assert f"{name}: {integers.dtype} {list(integers.shape)} sha256 {digest}" in printed


def test_examples_are_short() -> None:
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) >= 2
    assert all(len(path.read_text().splitlines()) < 60 for path in scripts)
