"""Times cold starts: a fresh process that loads a program, plans it and runs it once.

    python benchmarks/cold.py [--only deit_small ...] [--repeat 5] [--threads 1]

From the start of the Python interpreter to the first result, the best of ``--repeat`` processes;
with the processor time of the process, which a busy machine changes little, and its peak memory.
Programs have random weights; they are made first and kept in ``out/cold``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from intformer.evaluate.bench.architectures import SHAPES, architecture
from intformer.evaluate.bench.prepare import AT_ONCE, SAMPLES, random_inputs
from intformer.quantize.api import quantize

TOKENS = 128
MODELS = [name for name in SHAPES if name != "vit_nano"]
FOLDER = Path("out/cold")

CHILD = """
import json, sys, time
started = time.perf_counter()
import numpy as np
from intformer import load
imported = time.perf_counter()
program = load(sys.argv[1], threads=int(sys.argv[2]))
loaded = time.perf_counter()
with np.load(sys.argv[1] + ".npz") as inputs:
    program.run(dict(inputs))
done = time.perf_counter()
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
stages = [imported - started, loaded - imported, done - loaded]
print(json.dumps({"stages": stages, "cpu": time.process_time(), "peak": peak}))
"""


def make(model: str) -> Path:
    """The program of a model and one input beside it."""
    file = FOLDER / f"{model}.onnx"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        source = architecture(model)
        samples = random_inputs(source.graph, SAMPLES, TOKENS)
        program = quantize(source, [samples], dict(AT_ONCE))
        np.savez(f"{file}.npz", **random_inputs(program.graph, 1, TOKENS))
        program.save(file)
    return file


def start(file: Path, threads: int) -> dict:
    """One fresh process; ``wall``: seconds from its start to its end."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", CHILD, str(file), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True)
    return {**json.loads(done.stdout), "wall": time.perf_counter() - begin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    columns = ("model", "whole process s", "CPU s", "import", "load", "plan and run", "peak MB")
    table = Table(*columns, title="Cold start")
    for model in options.only:
        file = make(model)
        found = [start(file, options.threads) for _ in range(options.repeat)]
        best = min(found, key=lambda run: run["wall"])
        numbers = (best["wall"], min(run["cpu"] for run in found), *best["stages"])
        table.add_row(model, *(f"{x:.2f}" for x in numbers), f"{best['peak']:.0f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
