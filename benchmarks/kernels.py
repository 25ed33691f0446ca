"""Runs ``intformer bench --kernels`` and writes its table of products into docs/kernels.md.

    python benchmarks/kernels.py [--levels avx2,...] [--threads 1,2] [--rows 197,394] [--rounds 150]
                                 [--place NAME]

Measure on a quiet machine: two threads wait for each other. One thread is timed by its own time on
the processor, so other work matters less there.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from intformer.cli import console
from intformer.cli.doctor import machine
from intformer.evaluate.bench.kernels import SHAPES, KernelPlan, KernelRow, measure_levels
from intformer.runtime import describe

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "kernels.md"
BEGIN, END = "<!-- written by benchmarks/kernels.py{} -->", "<!-- end -->"
PRODUCT = "linear+requantize"


def measure(
    levels: list[str], threads: list[int], sizes: list[int], rounds: int
) -> list[KernelRow]:
    """Products for every number of rows."""
    fixed = {"threads": threads, "rounds": rounds, "kernels": [PRODUCT]}
    plans = [KernelPlan(rows=rows, **fixed) for rows in sizes]
    with console.stages() as bars:
        return [row for plan in plans for row in measure_levels(plan, levels, bars)]


def lines_of(rows: list[KernelRow]) -> Iterator[str]:
    """A line per level, form, rows and threads; a cell per shape."""
    titles = [f"{k}, {n}" for k, n in SHAPES]
    titles[0] = "K, N = " + titles[0]
    yield f"| level and form | M | threads | {' | '.join(titles)} | limit | least exact share |"
    yield f"|---|---:|---:|{'---:|' * (len(titles) + 2)}"

    def key(row: KernelRow) -> tuple[str, str, str, int, int]:
        return row.level, row.form, row.weights, row.rows, row.threads

    products = [row for row in rows if row.kernel == PRODUCT]
    for (level, form, weights, size, threads), group in groupby(products, key):
        found = list(group)
        cells = [f"{row.best:.0f}{_percent(row.share, ' · ')}" for row in found]
        limit = max(row.limit for row in found)
        exact = min((row.exact_share for row in found if row.exact_share), default=None)
        name = f"`{level}`, `{form}` ({weights})"
        end = f"{limit:.0f} | {_percent(exact)}" if limit else "– | –"
        yield f"| {name} | {size} | {threads} | {' | '.join(cells)} | {end} |"


def _percent(share: float | None, before: str = "") -> str:
    return "" if share is None else f"{before}{100 * share:.0f} %"


def grouped(rows: list[KernelRow]) -> list[KernelRow]:
    """Rows of one level and kind of weights side by side, in the order they were measured."""
    names = [(row.level, row.weights) for row in rows]
    order = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return sorted(rows, key=lambda r: (order[r.level, r.weights], r.rows, r.threads))


def write(rows: list[KernelRow], options: argparse.Namespace) -> None:
    """Replace the generated part of the document."""
    command = shlex.join(["python", "benchmarks/kernels.py", *sys.argv[1:]])
    head = f"{machine()['processor']}, best of {options.rounds} turns, `{command}`:"
    text = DOCUMENT.read_text(encoding="utf-8")
    begin = BEGIN.format(f" --place {options.place}" if options.place else "")
    before, rest = text.split(begin)
    after = rest[rest.index(END) :]
    made = "\n".join([begin, "", head, "", *lines_of(grouped(rows)), ""])
    DOCUMENT.write_text(f"{before}{made}\n{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", default="portable,avx2,avxvnni,avx512vnni,dotprod,i8mm")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rows", default="197,394")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--place", default="", help="part of the page: one for each machine")
    options = parser.parse_args()
    levels = [level for level in options.levels.split(",") if level in describe()["levels"]]
    numbers = [[int(part) for part in text.split(",")] for text in (options.threads, options.rows)]
    write(measure(levels, *numbers, options.rounds), options)


if __name__ == "__main__":
    main()
