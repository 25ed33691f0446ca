"""Times the kernels of every instruction-set level against the limit of this machine.

    python benchmarks/kernels.py [--rows 197] [--threads 1 2] [--repeat 20] [--json FILE]

Each product runs with its epilogue (requantize to uint8). The limit is what the same arithmetic
reaches from registers alone, probed in the same process, before and after each product, with all
threads at work. ``any``: int8 weights in [-128, 127]; ``symmetric``: in [-127, 127]; ``safe2``,
``safe4``, ``safe8``: weights small enough for sums of 2, 4 or 8 products in int16.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from intformer import _native
from intformer.ir.graph import Graph, TensorType
from intformer.runtime import Session
from intformer.runtime.emit_linear import Form, choose_form

SHAPES = [(192, 576), (384, 1536), (1536, 384), (768, 3072), (3072, 768)]
KINDS = ("any", "symmetric", "safe2", "safe4", "safe8")


def random_weight(kind: str, depth: int, columns: int) -> NDArray[np.int8]:
    """Weights that just satisfy the condition of their kind."""
    rng = np.random.default_rng(depth)
    share = 128 // int(kind[4:]) if kind.startswith("safe") else 127
    weight = rng.integers(-share, share + 1, (depth, columns)).astype(np.int8)
    if kind == "any":
        weight[0] = -128
    return weight


def program(kind: str, depth: int, columns: int) -> Graph:
    """uint8 [N, depth] -> linear -> requantize -> uint8 [N, columns]."""
    graph = Graph("integer", limits={"N": 4096})
    graph.inputs["x"] = graph.types["x"] = TensorType("uint8", ("N", depth))
    shift = 29 + (100 * depth).bit_length()
    weight = graph.add_constant("weight", random_weight(kind, depth, columns))
    bias = graph.add_constant("bias", np.zeros(columns, np.int32))
    factor = graph.add_constant("factor", np.full(columns, (1 << shift) // (100 * depth), np.int32))
    offset = graph.add_constant("offset", np.full(columns, 257 << (shift - 1)))
    acc = graph.add_node("linear", ("x", weight, bias), TensorType("int32", ("N", columns)))
    kind_out = TensorType("uint8", ("N", columns))
    graph.outputs["y"] = graph.add_node(
        "requantize", (acc, factor, offset), kind_out, shift=shift, dtype="uint8"
    )
    return graph


def clock(threads: int) -> float:
    """Seconds: this thread's CPU time where it works alone, so that a busy machine matters less."""
    return time.thread_time() if threads == 1 else time.perf_counter()


def limit(form: Form, threads: int) -> float:
    """GMAC/s of the inner step of ``form`` from registers, ``threads`` at once."""

    def once(_: int) -> float:
        start = clock(threads)
        return _native.probe(int(form), 200_000) / (clock(threads) - start) / 1e9

    if threads == 1:
        return once(0)
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(once, range(threads)))


def measure(kind: str, shape: tuple[int, int], rows: int, threads: int, repeat: int) -> dict:
    """One row of the table: best and median rate of one product, and the limit beside it."""
    depth, columns = shape
    graph = program(kind, depth, columns)
    form = choose_form(_native.level(), "linear", graph.constants["weight"])
    session = Session(graph, threads=threads)
    x = {"x": np.random.default_rng(0).integers(0, 256, (rows, depth), dtype=np.uint8)}
    macs, rates, limits = rows * depth * columns / 1e9, [], []
    run = session.prepared(x)
    calls = max(1, int(0.02 / (macs / 100)))
    for _ in range(repeat):
        limits.append(limit(form, threads))
        start = clock(threads)
        for _ in range(calls):
            run()
        rates.append(macs * calls / (clock(threads) - start))
    top = max(limits)
    return {
        "level": _native.level(),
        "weights": kind,
        "form": form.name.lower(),
        "K": depth,
        "N": columns,
        "M": rows,
        "threads": threads,
        "best": max(rates),
        "median": float(np.median(rates)),
        "limit": top,
        "limit_median": float(np.median(limits)),
    }


def level_rows(options: argparse.Namespace) -> list[dict]:
    """All measurements at the level of this process."""
    kinds = KINDS if _native.level() == "avx2" else ("any",)
    return [
        measure(kind, shape, options.rows, threads, options.repeat)
        for threads in options.threads
        for kind in kinds
        for shape in SHAPES
    ]


def all_levels(arguments: list[str]) -> list[dict]:
    """Measurements at every level but the portable one, each in a process of its own."""
    rows = []
    for level in _native.levels():
        if level != "portable":
            command = [sys.executable, __file__, "--here", *arguments]
            environment = {**os.environ, "INTFORMER_ISA": level}
            done = subprocess.run(command, env=environment, check=True, capture_output=True)
            rows += json.loads(done.stdout)
    return rows


def show(rows: list[dict]) -> None:
    table = Table(title="GMAC/s with epilogue")
    for name in ("level", "weights", "form", "K", "N", "threads", "best", "limit", "%", "median %"):
        table.add_column(name, justify="right")
    for row in rows:
        names = ("level", "weights", "form", "K", "N", "threads")
        shares = (row["best"] / row["limit"], row["median"] / row["limit_median"])
        table.add_row(
            *(str(row[name]) for name in names),
            f"{row['best']:.0f}",
            f"{row['limit']:.0f}",
            *(f"{100 * share:.0f}" for share in shares),
        )
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=197)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json")
    parser.add_argument("--here", action="store_true", help="only the level of this process")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(level_rows(options)))
        return
    rows = all_levels(sys.argv[1:])
    show(rows)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
