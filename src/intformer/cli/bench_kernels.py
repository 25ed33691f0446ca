"""``intformer bench --kernels``."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from intformer.cli import console
from intformer.errors import InputError

if TYPE_CHECKING:
    from intformer.evaluate.bench.kernels import KernelPlan


def kernel_plan(shapes: str, rows: int, threads: Sequence[int], rounds: int) -> KernelPlan:
    """The measurement that the command line asks for.

    Raises:
        InputError: ``shapes`` is not a list of KxN.
    """
    from intformer.evaluate.bench.kernels import KernelPlan

    found = [re.fullmatch(r"(\d{1,6})x(\d{1,6})", part) for part in shapes.split(",")]
    sizes = [(int(m[1]), int(m[2])) for m in found if m]
    if len(sizes) < len(found) or any(k < 1 or n < 1 for k, n in sizes):
        raise InputError(
            f"--shapes {shapes}: give depths and columns, for example 384x1536,768x768"
        )
    return KernelPlan(sizes, rows, threads, rounds)


def bench_kernels(
    plan: KernelPlan, levels: Sequence[str], markdown: Path | None, *, as_json: bool
) -> None:
    """Measure and print; all levels of this CPU if ``levels`` is empty."""
    from intformer.cli.doctor import machine
    from intformer.evaluate.bench import kernel_tables
    from intformer.evaluate.bench.kernels import measure_levels
    from intformer.runtime.session import describe

    available = describe().get("levels", [])
    assert isinstance(available, list)
    with console.stages() as bars:
        rows = measure_levels(plan, levels or available, bars)
    here, command = machine(), shlex.join(["intformer", *sys.argv[1:]])
    if markdown is not None:
        with console.writing(markdown) as temporary:
            text = kernel_tables.markdown(rows, here["processor"], command)
            temporary.write_text(text, encoding="utf-8")
    if as_json:
        found = {"rows": [row.to_json() for row in rows], "machine": here, "command": command}
        console.print_json(found)
        return
    out = console.output()
    for table in kernel_tables.rich_tables(rows):
        out.print(table)
    out.print(kernel_tables.NOTE, markup=False)
