"""``intformer bench --kernels``: every kernel, at every level, against the limit of the machine.

The limit of a product is what the same arithmetic reaches from registers alone; that of a kernel
that moves data, a plain copy of as many bytes. Both are measured in the same process, before each
kernel, with all threads at work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np

from intformer.errors import InputError
from intformer.evaluate.bench.kernel_graphs import PACKED, Kernel, others, products, repeated
from intformer.extension import native
from intformer.runtime.forms import NIBBLE_LEVELS, Form, choose_form
from intformer.runtime.session import Session

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""

SHAPES = ((192, 576), (384, 1536), (1536, 384), (768, 3072), (3072, 768))
"""(K, N) of the products of DeiT-Tiny, -Small and -Base."""

TURN, COPY_SECONDS, MANY_THREADS_SECONDS = 0.001, 0.0003, 0.004
"""Seconds of one timed turn, at least one call, and of one call. Turns are short, so that some are
whole on a busy machine, and calls hold several copies of a small kernel, as a model has them: most
where several threads work, since every call wakes them."""

FEWEST, KERNEL_SECONDS = 5, 4.0
"""Turns that slow kernels have at least, and seconds after which there are no more of them."""

PROBE_ROUNDS = 100_000


@dataclass(frozen=True)
class KernelPlan:
    """What to measure: shapes (K, N), rows (M), threads, turns of each kernel, and the names of the
    kernels (all if empty)."""

    shapes: Sequence[tuple[int, int]] = SHAPES
    rows: int = 197
    threads: Sequence[int] = (1, 2)
    rounds: int = 60
    kernels: Sequence[str] = ()


@dataclass(frozen=True)
class KernelRow:
    """One kernel at one level.

    Attributes:
        level: instruction-set level.
        kernel, weights: see ``Kernel``.
        form: how products are computed at this level, empty for other kernels.
        rows, depth, columns: M, K, N.
        threads: number of threads.
        unit: ``GMAC/s`` or ``GB/s``.
        best, median: rates of the fastest and the median turn.
        limit: the fastest rate of the probe of the same form, 0 if the level has none.
        limit_median: its median.
        exact_limit: the limit of the fastest form that is exact for any product of a pair
            (``pairs2`` on AVX2), to compare forms of one level with each other.
    """

    level: str
    kernel: str
    weights: str
    form: str
    rows: int
    depth: int
    columns: int
    threads: int
    unit: str
    best: float
    median: float
    limit: float
    limit_median: float
    exact_limit: float

    @property
    def share(self) -> float | None:
        """Part of the limit that the fastest turn reaches."""
        return self.best / self.limit if self.limit else None

    @property
    def median_share(self) -> float | None:
        """The same for medians."""
        return self.median / self.limit_median if self.limit_median else None

    @property
    def exact_share(self) -> float | None:
        """Part of ``exact_limit``."""
        return self.best / self.exact_limit if self.exact_limit else None

    def to_json(self) -> dict[str, object]:
        """All figures."""
        shares = ("share", "median_share", "exact_share")
        return {**asdict(self), **{name: getattr(self, name) for name in shares}}


def measure_levels(
    plan: KernelPlan, levels: Sequence[str], progress: Progress | None = None
) -> list[KernelRow]:
    """Rows of each level, measured in a process of its own.

    Raises:
        InputError: the native extension is missing, or a measurement failed.
    """
    if native is None:
        raise InputError("--kernels needs the compiled extension intformer._native")
    advance = progress or (lambda *_: None)
    rows: list[KernelRow] = []
    for done, level in enumerate(levels):
        advance("levels", done, len(levels))
        rows += _in_process(plan, level)
    advance("levels", len(levels), len(levels))
    return rows


def _in_process(plan: KernelPlan, level: str) -> list[KernelRow]:
    command = [sys.executable, "-m", "intformer.evaluate.bench.kernels", json.dumps(asdict(plan))]
    environment = {**os.environ, "INTFORMER_ISA": level}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"kernels of level {level} could not be measured: {last}")
    return [KernelRow(**row) for row in json.loads(done.stdout)]


def measure_here(plan: KernelPlan) -> Iterator[KernelRow]:
    """Rows of the level of this process.

    Kernels of one number of threads take turns, so that each has its part of the quiet moments of
    a busy machine.
    """
    for threads in plan.threads:
        entrants = [
            _Entrant(kernel, threads)
            for kernel in _kernels(plan)
            if not plan.kernels or kernel.name in plan.kernels
        ]
        for turn in range(plan.rounds):
            for entrant in entrants:
                if turn < FEWEST or entrant.spent < KERNEL_SECONDS:
                    entrant.take_turn()
        yield from (entrant.row() for entrant in entrants)


def _kernels(plan: KernelPlan) -> Iterator[Kernel]:
    for depth, columns in plan.shapes:
        yield from products(plan.rows, depth, columns, all_weights=native.level() == "avx2")
    for width in dict.fromkeys(depth for depth, _ in plan.shapes if depth <= 768):
        yield from others(plan.rows, width)


class _Entrant:
    """A kernel, and what its turns and those of its limits have shown."""

    def __init__(self, kernel: Kernel, threads: int) -> None:
        self.kernel, self.threads, self.form = kernel, threads, _form(kernel)
        self.run, self.calls, self.work = _prepared(kernel, threads)
        self.rates: list[float] = []
        self.limits: list[float] = []
        self.exact: list[float] = []
        self.spent = 0.0

    def take_turn(self) -> None:
        """Its limit, the exact limit of the level, and the kernel, one after the other.

        One call comes before those that are timed: the results of a model lie in one arena, which
        stays in the cache, while those of each kernel here have been driven out by the others.
        """
        start = time.perf_counter()
        self.limits.append(_limit(self.kernel, self.form, self.threads))
        has_forms = self.kernel.macs and self.form is not _exact_form()
        exact = _limit(self.kernel, _exact_form(), self.threads) if has_forms else self.limits[-1]
        self.exact.append(exact)
        self.run()
        self.rates.append(self.work / _seconds(self._calls, self.threads))
        self.spent += time.perf_counter() - start

    def _calls(self) -> None:
        for _ in range(self.calls):
            self.run()

    def row(self) -> KernelRow:
        """The fastest and the median of its turns."""
        kernel = self.kernel
        return KernelRow(
            native.level(),
            kernel.name,
            kernel.weights,
            self.form.name.lower() if kernel.macs else "",
            kernel.rows,
            kernel.depth,
            kernel.columns,
            self.threads,
            "GMAC/s" if kernel.macs else "GB/s",
            max(self.rates),
            median(self.rates),
            max(self.limits),
            median(self.limits),
            max(self.exact),
        )


def _prepared(kernel: Kernel, threads: int) -> tuple[Callable[[], object], int, float]:
    """A call of the kernel, the calls of a turn, and the work of these."""
    work = (kernel.macs or kernel.bytes) / 1e9
    once = Session(kernel.graph, threads=threads).prepared(kernel.inputs)
    once()
    wanted = COPY_SECONDS if threads == 1 else MANY_THREADS_SECONDS
    copies = max(1, round(wanted / max(_seconds(once, threads), 1e-6)))
    run = Session(repeated(kernel, copies), threads=threads).prepared(kernel.inputs)
    run()
    calls = max(1, round(TURN / max(_seconds(run, threads), 1e-6)))
    return run, calls, work * copies * calls


def _seconds(work: Callable[[], object], threads: int) -> float:
    start = _clock(threads)
    work()
    return _clock(threads) - start


def _clock(threads: int) -> float:
    """Seconds: this thread's CPU time where it works alone, so that a busy machine matters less."""
    return time.thread_time() if threads == 1 else time.perf_counter()


ATTENTION_FORMS = {
    "portable": Form.PLAIN,
    "avx2": Form.WIDE,
    "avxvnni": Form.VNNI,
    "avx512vnni": Form.VNNI,
    "dotprod": Form.DOTPROD,
    "i8mm": Form.DOTPROD,
}
"""How each level multiplies in attention."""

EXACT_FORMS = {**ATTENTION_FORMS, "avx2": Form.PAIRS2, "i8mm": Form.I8MM}
"""The fastest exact products of bytes at each level, whose rate is the machine's limit."""


def _form(kernel: Kernel) -> Form:
    """How the level computes the kernel's products; attention has forms of its own."""
    level = native.level()
    if kernel.weights == PACKED:
        return Form.NIBBLES if level in NIBBLE_LEVELS else _exact_form()
    if "weight" in kernel.graph.constants:
        return choose_form(level, "linear", kernel.graph.constants["weight"], kernel.rows)
    return ATTENTION_FORMS[level]


PACKED_FORMS = {"portable": Form.PLAIN, "avx2": Form.PAIRS8}
"""What a level makes of many rows times packed weights, where that is not ``EXACT_FORMS``."""


def _probed(form: Form) -> Form:
    """The form whose inner step is that of ``form``."""
    return PACKED_FORMS.get(native.level(), _exact_form()) if form is Form.NIBBLES else form


def _exact_form() -> Form:
    return EXACT_FORMS[native.level()]


def _limit(kernel: Kernel, form: Form, threads: int) -> float:
    """GMAC/s of the inner step of ``form`` from registers, or GB/s of a copy."""
    if kernel.macs:
        return _at_once(lambda: native.probe(int(_probed(form)), PROBE_ROUNDS) / 1e9, threads)
    source = np.ones(kernel.bytes // 2, np.uint8)
    target = np.empty_like(source)
    target[:] = source

    def copy() -> float:
        for _ in range(50):
            np.copyto(target, source)
        return 50 * 2 * source.size / 1e9

    return _at_once(copy, 1)


def _at_once(work: Callable[[], float], threads: int) -> float:
    """Rate of ``work``, which returns how much it has done, in all threads together."""

    def once(_: int) -> float:
        start = _clock(threads)
        done = work()
        return done / (_clock(threads) - start)

    if threads == 1:
        return once(0)
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(once, range(threads)))


if __name__ == "__main__":
    settings = KernelPlan(**json.loads(sys.argv[1]))
    print(json.dumps([asdict(row) for row in measure_here(settings)]))
