"""Runs the engines in turns and makes rows of what they report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from statistics import mean, median

import numpy as np

from intformer.evaluate.bench.engines import OURS, PEERS, Engine
from intformer.evaluate.bench.job import Array, Job
from intformer.evaluate.bench.process import EngineError, Process
from intformer.evaluate.bench.results import Row

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        threads, batches: every pair of them is a configuration.
        rounds: turns of each engine in each configuration.
        seconds: timed seconds of one turn, at least one run.
        peers: names of the engines to compare with.
        levels: further instruction-set levels of intformer's kernels.
    """

    threads: Sequence[int] = (1, 2)
    batches: Sequence[int] = (1, 8)
    rounds: int = 7
    seconds: float = 0.25
    peers: Sequence[str] = tuple(PEERS)
    levels: Sequence[str] = ()


@dataclass
class Entrant:
    """An engine that takes part, its process and its rows by batch size.

    ``level`` and ``variant`` are for intformer: forced kernels, and the recipe of another program.
    """

    engine: Engine
    level: str | None = None
    variant: str | None = None
    problem: str | None = None
    process: Process | None = None
    rows: dict[int, Row] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of its rows."""
        variant = f"[{self.variant}]" if self.variant else ""
        return self.engine.name + variant + (f"@{self.level}" if self.level else "")

    @property
    def title(self) -> str:
        """For people."""
        variant = f" {self.variant}" if self.variant else ""
        level = f" ({self.level} kernels)" if self.level else ""
        return self.engine.title + variant + level

    def fail(self, problem: str) -> None:
        """Take no further part."""
        self.problem, self.process = problem, None
        for row in self.rows.values():
            row.problem = problem


def measure(
    job: Job, plan: Plan, reference: Array | None, progress: Progress | None = None
) -> list[Row]:
    """Measure all engines of ``plan``.

    Args:
        job: the model; files that an engine needs and that are absent make a row that says so.
        plan: what to measure.
        reference: the float model's output for the largest batch, None if there is none.
        progress: called as the measurement goes on.
    """
    advance = progress or (lambda *_: None)
    entrants = _entrants(job, plan, advance)
    rows: list[Row] = []
    for threads in plan.threads:
        with ExitStack() as stack:
            _start(job, plan, entrants, threads, stack, advance)
            for batch in plan.batches:
                _take_turns(entrants, threads, batch, plan, advance)
                _compare(job, entrants, batch, reference)
        rows += [e.rows[batch] for batch in plan.batches for e in entrants]
    return rows


def _entrants(job: Job, plan: Plan, advance: Progress) -> list[Entrant]:
    """All engines, the peers prepared."""
    entrants = [
        Entrant(OURS, level, variant)
        for variant in (None, *job.variants)
        for level in (None, *plan.levels)
    ]
    for done, name in enumerate(plan.peers):
        advance("preparing peers", done, len(plan.peers))
        engine = PEERS[name]
        entrants.append(Entrant(engine, problem=engine.missing() or _prepare(job, engine)))
    advance("preparing peers", len(plan.peers), len(plan.peers))
    return entrants


def _prepare(job: Job, engine: Engine) -> str | None:
    """Convert the model for an engine; returns why it cannot take part."""
    for name in engine.needs:
        if not (job.folder / name).exists():
            return _absent(job, name)
    process = Process.of_engine(job, engine.name, 1)
    try:
        process.ask("prepare")
    except EngineError as error:
        return f"cannot prepare the model: {error}"
    finally:
        process.close()
    return None


def _absent(job: Job, name: str) -> str:
    reason = job.folder / f"{name}.problem"
    if reason.exists():
        return reason.read_text()
    if job.onnx.exists():
        return "needs a PyTorch module; this source is an ONNX file"
    return "needs the float model; name it with --against"


def _start(
    job: Job,
    plan: Plan,
    entrants: list[Entrant],
    threads: int,
    stack: ExitStack,
    advance: Progress,
) -> None:
    """Start a process per engine and load the model in it, one after the other."""
    for done, entrant in enumerate(entrants):
        advance(f"loading, {threads} threads", done, len(entrants))
        entrant.rows = {b: _row(entrant, threads, b) for b in plan.batches}
        if entrant.problem is not None:
            continue
        own = replace(job, program=job.variants.get(entrant.variant or "", job.program))
        entrant.process = Process.of_engine(own, entrant.engine.name, threads, entrant.level)
        stack.callback(entrant.process.close)
        try:
            found = entrant.process.ask("load", batch=min(plan.batches))
        except EngineError as error:
            entrant.fail(str(error))
            continue
        for row in entrant.rows.values():
            row.memory_mb, row.first_result_ms = found["memory_mb"], found["first_result_ms"]
    advance(f"loading, {threads} threads", len(entrants), len(entrants))


def _row(entrant: Entrant, threads: int, batch: int) -> Row:
    engine = entrant.engine
    return Row(
        entrant.name, entrant.title, engine.precision, threads, batch, problem=entrant.problem
    )


def _take_turns(
    entrants: list[Entrant], threads: int, batch: int, plan: Plan, advance: Progress
) -> None:
    """Rounds of turns, each round beginning with another engine; the first is not counted."""
    stage = f"{threads} threads, batch {batch}"
    for entrant in entrants:
        entrant.times, entrant.waited = [], []
    for done in range(plan.rounds + 1):
        advance(stage, done, plan.rounds + 1)
        first = done % len(entrants)
        for entrant in entrants[first:] + entrants[:first]:
            _turn(entrant, batch, plan.seconds if done else 0.01, counts=done > 0)
    advance(stage, plan.rounds + 1, plan.rounds + 1)
    for entrant in entrants:
        if entrant.process is not None:
            row = entrant.rows[batch]
            row.ms, row.fastest_ms = median(entrant.times), min(entrant.times)
            row.runs, row.waited = len(entrant.times), mean(entrant.waited)


def _turn(entrant: Entrant, batch: int, seconds: float, *, counts: bool) -> None:
    if entrant.process is None:
        return
    try:
        found = entrant.process.ask("turn", batch=batch, seconds=seconds)
    except EngineError as error:
        entrant.fail(str(error))
        return
    if counts:
        entrant.times += found["ms"]
        entrant.waited.append(found["waited"])


def _compare(job: Job, entrants: list[Entrant], batch: int, reference: Array | None) -> None:
    """Agreement of every engine with the float model, on the inputs that were timed."""
    if reference is None:
        return
    for entrant in entrants:
        if entrant.process is None:
            continue
        file = job.folder / "output.npy"
        try:
            entrant.process.ask("output", batch=batch, file=str(file))
        except EngineError as error:
            entrant.fail(str(error))
            continue
        row, made = entrant.rows[batch], np.load(file)
        row.agreement = cosine(made, reference[:batch])
        row.same_label = same_label(made, reference[:batch])


def cosine(made: Array, wanted: Array) -> float:
    """Mean cosine similarity over the first axis."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (made, wanted))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.where(norms == 0, 1, norms)))


def same_label(made: Array, wanted: Array) -> float | None:
    """Share of equal arg max along the last axis of [N, classes], None for other shapes."""
    if made.ndim != 2:
        return None
    return float(np.mean(made.argmax(axis=1) == wanted.argmax(axis=1)))
