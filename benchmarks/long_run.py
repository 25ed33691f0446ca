"""Serves many requests of mixed sizes from several threads: no byte changes, memory does not grow.

    python benchmarks/long_run.py PROGRAM.onnx [--requests 10000] [--threads 4] [--lengths 12]

Requests have 1 to 3 rows and, where the program takes sequences, 1 to ``--lengths`` tokens; by
default that is more sizes than a session keeps plans for. Every result is compared with that of
the reference interpreter. Memory is the resident size after each tenth of the requests.
"""

from __future__ import annotations

import argparse
import os
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from rich.progress import track

from intformer import load
from intformer.artifact.golden import golden_inputs
from intformer.ir.graph import Array, Graph
from intformer.reference import interpret
from intformer.runtime import Session

ROWS = (1, 2, 3)

Case = tuple[dict[str, Array], dict[str, Array]]
"""Inputs and the outputs they must give."""


def cases(graph: Graph, lengths: int) -> list[Case]:
    """One request of each size."""
    symbols = list(dict.fromkeys(d for k in graph.inputs.values() for d in k.shape if str(d) == d))
    choices = [ROWS if symbol == "N" else range(1, lengths + 1) for symbol in symbols]
    found = []
    for number, sizes in enumerate(track(list(product(*choices)), "reference")):
        inputs = golden_inputs(graph, dict(zip(symbols, sizes, strict=True)), seed=number)
        found.append((inputs, interpret(graph, inputs)))
    return found


def resident() -> float:
    """MB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def serve(session: Session, case: Case) -> bool:
    """Whether the session gives the bytes of the reference."""
    inputs, wanted = case
    found = session.run(inputs)
    return all((found[name] == array).all() for name, array in wanted.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--lengths", type=int, default=12)
    options = parser.parse_args()
    graph = load(options.program).graph
    known, session = cases(graph, options.lengths), Session(graph)
    chosen = random.Random(1).choices(known, k=options.requests)
    part, right, sizes = max(1, options.requests // 10), 0, []
    with ThreadPoolExecutor(options.threads) as pool:
        for start in track(range(0, options.requests, part), "requests"):
            right += sum(pool.map(lambda c: serve(session, c), chosen[start : start + part]))
            sizes.append(resident())
    print(f"{right} of {options.requests} results equal the reference; {len(known)} sizes")
    print("MB resident:", " ".join(f"{size:.1f}" for size in sizes))
    if right != options.requests:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
