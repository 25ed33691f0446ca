"""Decoders in turns: what ``translation_speed.py`` and ``language_model_speed.py`` share.

Each engine runs in a process of its own, pinned to the same cores and stopped while another one has
its turn. In a round every engine does every case once, and rounds begin with different engines.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import geometric_mean, mean, median
from typing import Any

from rich.progress import Progress

import intformer
from intformer.evaluate.bench.process import EngineError, Process
from intformer.evaluate.bench.worker import die_with_parent, peak_memory, serve, waiting_time

Case = dict[str, int]
Run = Callable[[Case], int]
"""Decodes once; returns how many tokens it made."""

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Engine:
    """A way to decode.

    Attributes:
        title: for people.
        prepare: writes ``files`` into the folder of models.
        load: makes a ``Run`` from the folder of models and a number of threads.
        files: what it needs of the folder.
        package: whose version is told.
    """

    title: str
    prepare: Callable[[Path], None]
    load: Callable[[Path, int], Run]
    files: str
    package: str


def our_engine(
    recipe: str, prepare: Callable[[str, Path], None], load: Callable[[str, Path, int], Run]
) -> Engine:
    """intformer with a program of ``recipe``, which ``prepare`` and ``load`` get first."""
    title, file = f"intformer {recipe.upper()}", f"{recipe}.onnx"
    return Engine(title, partial(prepare, recipe), partial(load, recipe), file, "intformer")


@dataclass(frozen=True)
class Contest:
    """A benchmark: its script, where its models are, who takes part and what is measured.

    Attributes:
        own: engines that are compared with all others.
        cases: what each engine does; ``tokens`` in a case says how many a sentence must have.
        name_of: a case for people.
    """

    script: str
    description: str | None
    engines: dict[str, Engine]
    own: Sequence[str]
    cases: Sequence[Case]
    name_of: Callable[[Case], str]


@dataclass
class Row:
    """One engine in one case; rates in tokens per second."""

    engine: str
    threads: int
    case: Case
    tokens: int
    rates: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    memory_mb: float = 0.0
    problem: str = ""

    @property
    def rate(self) -> float:
        return median(self.rates) if self.rates else float("nan")


class Worker:
    """The engine's end: answers the requests of ``Process``."""

    def __init__(self, engine: Engine, folder: Path, threads: int) -> None:
        self._run = engine.load(folder, threads)

    def turn(self, case: Case) -> dict[str, Any]:
        """One timed run."""
        waited, start = waiting_time(), time.perf_counter()
        tokens = self._run(case)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "tokens": tokens, "waited": waiting_time() - waited}

    def memory(self) -> dict[str, Any]:
        """The peak of this process, in MB."""
        return {"mb": peak_memory() / 1e6}


def work(engines: dict[str, Engine], folder: Path, engine: str, threads: int) -> None:
    """Be the process of an engine."""
    die_with_parent()
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Worker(engines[engine], folder, threads), sys.stdin, replies)  # type: ignore[arg-type]


def measure(contest: Contest, engines: dict[str, Engine], options: argparse.Namespace) -> list[Row]:
    """All rows."""
    rows: list[Row] = []
    with Progress() as progress:
        bar = progress.add_task("", total=len(options.threads) * (options.rounds + 1))
        for threads in options.threads:
            processes = {name: _start(contest, name, options, threads) for name in engines}
            here = {
                name: [Row(name, threads, c, c["tokens"] * c["batch"]) for c in contest.cases]
                for name in engines
            }
            for turn in range(options.rounds + 1):
                progress.update(bar, description=f"{threads} thread(s)", advance=1)
                _round(processes, here, turn)
            for name, process in processes.items():
                _end(process, here[name])
            rows += [row for found in here.values() for row in found]
    return rows


def _start(contest: Contest, name: str, options: argparse.Namespace, threads: int) -> Process:
    folder = ["--folder", str(options.folder)]
    return Process([contest.script, "--work", name, *folder, str(threads)], threads)


def _round(processes: dict[str, Process], rows: dict[str, list[Row]], turn: int) -> None:
    """A turn of every engine in every case; round 0 warms up and is not counted."""
    names = list(processes)
    first = turn % len(names)
    for i in range(len(rows[names[0]])):
        for name in names[first:] + names[:first]:
            row = rows[name][i]
            if not row.problem:
                _turn(processes[name], row, counts=turn > 0)


def _turn(process: Process, row: Row, *, counts: bool) -> None:
    try:
        found = process.ask("turn", case=row.case)
    except EngineError as error:
        row.problem = str(error)
        return
    if found["tokens"] != row.tokens:
        row.problem = f"made {found['tokens']} tokens, not {row.tokens}"
    if counts:
        row.rates.append(found["tokens"] / found["seconds"])
        row.waited.append(found["waited"] / found["seconds"])


def _end(process: Process, rows: list[Row]) -> None:
    try:
        peak = process.ask("memory")["mb"]
        for row in rows:
            row.memory_mb = peak
    except EngineError:
        pass
    process.close()


def ratios(rows: Sequence[Row], own: str, peer: str) -> list[float]:
    """How many times the tokens per second of ``peer`` engine ``own`` makes, case by case."""
    others = {(row.threads, str(row.case)): row for row in rows if row.engine == peer}
    found = []
    for row in rows:
        other = others.get((row.threads, str(row.case)))
        if row.engine == own and other and row.rates and other.rates:
            found.append(row.rate / other.rate)
    return found


def table(
    rows: Sequence[Row], engines: dict[str, Engine], name_of: Callable[[Case], str]
) -> list[str]:
    """Tokens per second and memory, a line per engine, as Markdown."""
    places = list(dict.fromkeys((row.threads, name_of(row.case)) for row in rows))
    heads = [f"{threads} thread{'s' * (threads > 1)}, {case}" for threads, case in places]
    lines = [
        f"| engine | {' | '.join(heads)} | peak MB |",
        f"|---|{'---:|' * (len(heads) + 1)}",
    ]
    for name, engine in engines.items():
        own = {(r.threads, name_of(r.case)): r for r in rows if r.engine == name}
        cells = [_cell(own[place]) for place in places]
        memory = " / ".join(
            f"{m:.0f}" for m in dict.fromkeys(round(r.memory_mb) for r in own.values())
        )
        lines.append(f"| {engine.title} | {' | '.join(cells)} | {memory} |")
    return lines


def _cell(row: Row) -> str:
    return "failed" if row.problem else f"{row.rate:.0f}"


def comparison(rows: Sequence[Row], engines: dict[str, Engine], own: Sequence[str]) -> list[str]:
    """Ratios of our programs to the others: geometric mean, smallest and largest."""
    lines = [
        "| program | against | geometric mean | smallest | largest |",
        "|---|---|---:|---:|---:|",
    ]
    for name in own:
        for peer in engines:
            found = ratios(rows, name, peer)
            if peer in own or not found:
                continue
            lines.append(
                f"| {engines[name].title} | {engines[peer].title} | "
                f"**{geometric_mean(found):.2f}x** | {min(found):.2f}x | {max(found):.2f}x |"
            )
    return lines


def footnote(rows: Sequence[Row], engines: dict[str, Engine], options: argparse.Namespace) -> str:
    """Waiting, machine, versions and command."""
    from intformer.cli.doctor import machine
    from intformer.runtime.session import describe

    here = machine()
    waits = [mean(row.waited) for row in rows if row.waited]
    packages = dict.fromkeys(engine.package for engine in engines.values())
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    return (
        f"Medians of {options.rounds} rounds; threads waited for a core for {mean(waits):.2f} of "
        f"the time, {max(waits):.2f} in the worst row. {here['processor']}, {here['cores']} cores, "
        f"kernels {describe()['level']}; {versions}  \n"
        f"`python {' '.join(['benchmarks/' + Path(sys.argv[0]).name, *sys.argv[1:]])}`"
    )


def _version(package: str) -> str:
    if package == "intformer":
        return intformer.__version__
    return importlib.metadata.version(package)


def problems(rows: Sequence[Row], engines: dict[str, Engine]) -> list[str]:
    return [f"- {engines[row.engine].title}: {row.problem}" for row in rows if row.problem]


def main(contest: Contest) -> None:
    """Make what is missing, measure, show."""
    options = _options(contest)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.prepare:
        contest.engines[options.prepare].prepare(options.folder)
        return
    if options.work:
        work(contest.engines, options.folder, options.work, options.own_threads)
        return
    engines = {k: e for k, e in contest.engines.items() if not options.only or k in options.only}
    for name, engine in engines.items():
        if not (options.folder / engine.files).exists():
            command = [contest.script, "--prepare", name, "--folder", str(options.folder)]
            subprocess.run([sys.executable, *command], check=True)
    rows = measure(contest, engines, options)
    lines = [*table(rows, engines, contest.name_of), ""]
    lines += [*comparison(rows, engines, [n for n in contest.own if n in engines]), ""]
    lines += [*problems(rows, engines), footnote(rows, engines, options)]
    print("\n".join(lines))
    if options.json:
        options.json.write_text(json.dumps([{**asdict(r), "rate": r.rate} for r in rows], indent=1))
    if options.write:
        place = f" --place {options.place}" if options.place else ""
        write(f"benchmarks/{Path(contest.script).name}{place}", lines)


def _options(contest: Contest) -> argparse.Namespace:
    name = Path(contest.script).stem
    found = argparse.ArgumentParser(
        description=contest.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--folder", type=Path, default=Path("out") / name, help="of models")
    found.add_argument("--threads", type=_numbers, default=[1, 2])
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--only", nargs="*", help="engines to run")
    found.add_argument("--json", type=Path, help="also write all rows to this file")
    found.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    found.add_argument("--place", default="", help="part of the page: one for each machine")
    found.add_argument("--prepare", help=argparse.SUPPRESS)
    found.add_argument("--work", help=argparse.SUPPRESS)
    found.add_argument("own_threads", type=int, nargs="?", help=argparse.SUPPRESS)
    return found.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def write(script: str, lines: list[str]) -> None:
    """Replace the part of docs/benchmarks.md that ``script`` writes."""
    document = ROOT / "docs" / "benchmarks.md"
    begin, end = f"<!-- written by {script} -->", f"<!-- end of {script} -->"
    text = document.read_text(encoding="utf-8")
    before, after = text[: text.index(begin)], text[text.index(end) :]
    document.write_text("\n".join([before + begin, "", *lines, "", after]), encoding="utf-8")
