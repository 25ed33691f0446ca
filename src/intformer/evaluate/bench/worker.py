"""The process of one engine.

    python -m intformer.evaluate.bench.worker FOLDER PROGRAM ENGINE THREADS

Requests and replies are lines of JSON on standard input and output; whatever libraries print goes
to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from intformer.evaluate.bench.engines import ENGINES
from intformer.evaluate.bench.engines.base import Run
from intformer.evaluate.bench.job import Job

MOST_RUNS = 200
"""Timed runs of one turn at most."""

SET_PARENT_DEATH_SIGNAL = 1
"""Number of this request in ``<linux/prctl.h>``."""


class Worker:
    """Answers the requests of one engine."""

    def __init__(self, job: Job, engine: str, threads: int) -> None:
        self._job, self._engine, self._threads = job, ENGINES[engine], threads
        self._run: Run | None = None

    def prepare(self) -> dict[str, Any]:
        """Convert or quantize the float model."""
        self._engine.prepare(self._job)
        return {}

    def load(self, batch: int) -> dict[str, Any]:
        """Load the model and compute one first result; nothing else has run here yet."""
        feed = self._job.feed(self._engine.inputs, batch)
        start = time.perf_counter()
        self._run = self._engine.load(self._job, self._threads)
        self._run(feed)
        first = time.perf_counter() - start
        return {"first_result_ms": 1e3 * first, "memory_mb": peak_memory() / 1e6}

    def turn(self, batch: int, seconds: float) -> dict[str, Any]:
        """Milliseconds of some runs, after one that warms the caches up.

        ``waited`` is the time in which threads wanted a core that other processes held, per time.
        """
        assert self._run is not None
        feed = self._job.feed(self._engine.inputs, batch)
        self._run(feed)
        times: list[float] = []
        waited = waiting_time()
        while sum(times) < 1e3 * seconds and len(times) < MOST_RUNS:
            start = time.perf_counter()
            self._run(feed)
            times.append(1e3 * (time.perf_counter() - start))
        waited = waiting_time() - waited
        return {"ms": times, "waited": waited / (1e-3 * sum(times)) if times else 0.0}

    def output(self, batch: int, file: str) -> dict[str, Any]:
        """Write the output for the first ``batch`` inputs."""
        assert self._run is not None
        np.save(file, self._run(self._job.feed(self._engine.inputs, batch)))
        return {}


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes.

    ``getrusage`` would do, but on Linux it also counts what the parent held when it started us.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return next(
            1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")
        )
    except (OSError, StopIteration):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def waiting_time() -> float:
    """Seconds that threads of this process have been ready to run without running (Linux)."""
    total = 0
    for task in Path("/proc/self/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return total / 1e9


def serve(worker: Worker, requests: TextIO, replies: TextIO) -> None:
    """Answer until the requests end; an error is an answer too."""
    for line in requests:
        request = json.loads(line)
        method: Callable[..., dict[str, Any]] = getattr(worker, request.pop("do"))
        try:
            reply = method(**request)
        except Exception as error:  # engines raise whatever they like
            reply = {"error": _one_line(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]


def die_with_parent() -> None:
    """Have the kernel end this process, stopped or not, when its parent ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def main() -> None:
    """Entry point of the process."""
    die_with_parent()
    folder, program, engine, threads = sys.argv[1:]
    job = replace(Job.load(Path(folder)), program=Path(program))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Worker(job, engine, int(threads)), sys.stdin, replies)


if __name__ == "__main__":
    main()
