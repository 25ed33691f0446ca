"""What a process needs to load a program and run it once, beside the size of its file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from intformer import artifact
from intformer.ir.graph import Graph
from programs import Builder

pytest.importorskip("intformer._native")

WORDS, WIDTH = 12_000, 768

RUN = """
import sys
import numpy as np
from intformer.artifact import load
from intformer.runtime import Session

def peak():
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])

before = peak()
Session(load(sys.argv[1]), threads=1).run({"ids": np.zeros((1, 4), np.int64)})
print(peak() - before)
"""


def language_model(bits: int) -> Graph:
    """An embedding, a layer and a large vocabulary, weights of 4 or 8 bits, as quantizers choose
    them: products of 8 of them with bytes fit 16 bits."""
    build = Builder(0, {"N": 4, "T": 16})
    ids = build.input("ids", "int64", ("N", "T"), (0, WORDS - 1))
    rows = build.random("rows", "int8", (WORDS, WIDTH), -127, 127)
    factor = build.random("factor", "int32", (WORDS,), 2**20, 2**21)
    x = build.node("embedding", ids, rows, factor, shift=16, dtype="int16")
    sums = layer(build, build.norm(x, "a"), WIDTH, "fc", bits)
    hidden = build.requantize(sums, 1e-4, "int16", "fc")
    logits = layer(build, build.norm(hidden, "b"), WORDS, "head", bits)
    build.output("logits", build.requantize(logits, 0.05, "int16", "logits"))
    return build.graph


def layer(build: Builder, x: str, outputs: int, name: str, bits: int) -> str:
    if bits == 4:
        return build.packed_linear(x, outputs, name)
    weight = build.random(f"{name}.weight", "int8", (WIDTH, outputs), -16, 16)
    bias = build.random(f"{name}.bias", "int16", (outputs,), -9000, 9000)
    return build.node("linear", x, weight, bias, name=name, x_zero=128)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_program_takes_a_few_times_its_file(bits: int, tmp_path: Path) -> None:
    """A weight is in the file and, packed, in memory; what is computed on the way is small.

    The mapped file counts in full, although its pages are given back: the peak may come before.
    """
    path = tmp_path / "program.onnx"
    artifact.save(language_model(bits), path)
    line = [sys.executable, "-c", RUN, str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 3 * path.stat().st_size
