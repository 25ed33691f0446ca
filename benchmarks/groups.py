"""Times whole programs on AVX2 kernels by the size of their weight groups.

    python benchmarks/groups.py [--models deit_tiny deit_small minilm] [--rounds 15] [--json FILE]

Random weights, one thread, batch 1 (sequences of 128 tokens). The programs of a model take turns in
one process; times are those of this thread on the processor, so that a busy machine matters less.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path
from statistics import median

os.environ["INTFORMER_ISA"] = "avx2"

from rich.console import Console
from rich.table import Table

from intformer import quantize
from intformer.evaluate.bench.architectures import architecture
from intformer.evaluate.bench.prepare import AT_ONCE, random_inputs
from intformer.ir.graph import Graph
from intformer.runtime import Session
from intformer.runtime.emit_linear import choose_form

GROUPS = (0, 2, 4, 8)
TOKENS = 128


def forms(graph: Graph) -> str:
    """The forms of the products, most frequent first."""
    found = Counter(
        choose_form("avx2", node.op, graph.constants[node.inputs[1]]).name.lower()
        for node in graph
        if node.op in ("linear", "linear16")
    )
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def measure(model: str, rounds: int) -> list[dict[str, object]]:
    """One row for each group size: milliseconds of the fastest and of the median turn."""
    source = architecture(model)
    samples = random_inputs(source.graph, 8, TOKENS)
    programs = {
        size: quantize(source, [samples], {**AT_ONCE, "weight_groups": size}) for size in GROUPS
    }
    inputs = {name: array[:1] for name, array in samples.items()}
    runs = {
        size: Session(program.graph, threads=1).prepared(inputs)
        for size, program in programs.items()
    }
    times: dict[int, list[float]] = {size: [] for size in GROUPS}
    for _ in range(rounds + 1):
        for size, run in runs.items():
            start = time.thread_time()
            run()
            times[size].append(1000 * (time.thread_time() - start))
    return [
        {
            "model": model,
            "groups": size,
            "forms": forms(programs[size].graph),
            "best": min(found[1:]),
            "median": median(found[1:]),
            "speedup": median(a / b for a, b in zip(times[0][1:], found[1:], strict=True)),
        }
        for size, found in times.items()
    ]


def show(rows: list[dict[str, object]]) -> None:
    table = Table(title="milliseconds on AVX2, one thread")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{x:.2f}" if isinstance(x, float) else str(x) for x in row.values()))
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["deit_tiny", "deit_small", "minilm"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row for model in options.models for row in measure(model, options.rounds)]
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
