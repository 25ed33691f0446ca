"""Products of one row with weights that come from memory: int8 against 4 bits.

    python benchmarks/gemv.py [--shapes 768x2304,...] [--rows 1] [--threads 1,2] [--levels avx2,...]

One step of a decoder reads every weight once, so memory decides. Enough copies of each layer are
run in turn that none is still in a cache, int8 and packed ones in the same run, each with its
epilogue (requantize to uint8). Rates are of the fastest turn: GB/s of weights as they are stored.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from intformer.ir.graph import Graph, TensorType
from intformer.runtime import Session
from intformer.runtime.session import describe

SHAPES = "768x2304,768x3072,3072x768,768x50257"
"""(K, N) of GPT-2 small: q, k and v; up; down; the head."""

COLD_BYTES = 96e6
"""int8 weights that one turn reads, beyond what caches hold."""

GROUP, SHIFT = 32, 36


def program(packed: bool, depth: int, columns: int) -> Graph:
    """uint8 [N, depth] -> linear -> requantize -> uint8 [N, columns]."""
    rng = np.random.default_rng(depth)
    graph = Graph("integer", limits={"N": 64})
    graph.inputs["x"] = graph.types["x"] = TensorType("uint8", ("N", depth))
    if packed:
        groups = depth // GROUP
        halves = rng.integers(0, 256, (columns, groups, GROUP // 2)).astype(np.uint8)
        factors = rng.integers(1, 16, (columns, groups)).astype(np.int8)
        operands = graph.add_constant("packed", halves), graph.add_constant("factors", factors)
        kind = TensorType("int8", (depth, columns))
        weight = graph.add_node("unpack4", operands, kind, rows=depth)
    else:
        values = rng.integers(-127, 128, (depth, columns)).astype(np.int8)
        weight = graph.add_constant("weight", values)
    bias = graph.add_constant("bias", np.arange(columns, dtype=np.int32))
    acc = graph.add_node("linear", ("x", weight, bias), TensorType("int32", ("N", columns)))
    factor = graph.add_constant("factor", np.full(columns, (1 << SHIFT) // (80 * depth), np.int32))
    offset = graph.add_constant("offset", np.full(columns, 257 << (SHIFT - 1)))
    out = TensorType("uint8", ("N", columns))
    operands = acc, factor, offset
    graph.outputs["y"] = graph.add_node("requantize", operands, out, shift=SHIFT, dtype="uint8")
    return graph


def layers(
    packed: bool, shape: tuple[int, int], rows: int, threads: int
) -> list[Callable[[], object]]:
    """Copies of one layer, ready to run."""
    graph = program(packed, *shape)
    x = {"x": np.random.default_rng(0).integers(0, 256, (rows, shape[0]), dtype=np.uint8)}
    copies = max(1, round(COLD_BYTES / (shape[0] * shape[1])))
    return [Session(graph, threads=threads).prepared(x) for _ in range(copies)]


def fastest(runs: dict[str, list[Callable[[], object]]], threads: int, turns: int) -> dict:
    """Seconds of one call by kind, turns taken one after the other."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(turns):
        for kind, calls in runs.items():
            start = clock()
            for call in calls:
                call()
            best[kind] = min(best[kind], (clock() - start) / len(calls))
    return best


def measure(options: argparse.Namespace) -> list[dict]:
    """All rows at the level of this process."""
    found = []
    for threads in map(int, options.threads.split(",")):
        for text in options.shapes.split(","):
            depth, columns = map(int, text.split("x"))
            kinds = {"int8": False, "packed": True}
            runs = {k: layers(p, (depth, columns), options.rows, threads) for k, p in kinds.items()}
            best = fastest(runs, threads, options.turns)
            stored = {"int8": depth * columns, "packed": depth * columns * (GROUP + 2) / 2 / GROUP}
            found.append(
                {"level": describe()["level"], "threads": threads, "K": depth, "N": columns}
                | {f"{kind} us": 1e6 * best[kind] for kind in kinds}
                | {f"{kind} GB/s": stored[kind] / best[kind] / 1e9 for kind in kinds}
                | {"ratio": best["int8"] / best["packed"]}
            )
    return found


def of_level(level: str, arguments: list[str]) -> list[dict]:
    """Rows of one level, in a process of its own."""
    command = [sys.executable, __file__, "--here", *arguments]
    environment = {**os.environ, "INTFORMER_ISA": level}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    rows: list[dict] = json.loads(done.stdout)
    return rows


def show(rows: list[dict], title: str) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--levels", default="avx2,avxvnni,avx512vnni")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--here", action="store_true", help="only the level of this process")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options)))
        return
    known = [level for level in options.levels.split(",") if level in describe()["levels"]]
    rows = [row for level in known for row in of_level(level, sys.argv[1:])]
    show(rows, f"{options.rows} row(s) of uint8 times weights from memory")


if __name__ == "__main__":
    main()
