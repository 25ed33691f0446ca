"""The parent's end of an engine's process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from intformer.evaluate.bench.job import Job

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class EngineError(Exception):
    """An engine could not do what it was asked; the text is one line."""


class Process:
    """An engine's process. It is stopped except while it has a request to answer.

    Thread pools spin for a while after a run, waiting for more work; of a stopped process they
    cannot take time from the engine whose turn it is.

    Args:
        command: arguments of the Python interpreter; what runs answers requests like ``worker``.
        threads: threads it may use, each with a core of its own.
        level: instruction-set level for intformer's kernels, None for the best.
    """

    def __init__(self, command: Sequence[str], threads: int, level: str | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._child = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(threads, level),
        )
        _pin(self._child.pid, threads)

    @classmethod
    def of_engine(cls, job: Job, engine: str, threads: int, level: str | None = None) -> Process:
        """The process of the engine named ``engine``, for the model of ``job``."""
        module = ["-m", "intformer.evaluate.bench.worker"]
        return cls(
            [*module, str(job.folder), str(job.program), engine, str(threads)], threads, level
        )

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            EngineError: the engine failed, or its process ended.
        """
        assert self._child.stdin and self._child.stdout
        line = json.dumps({"do": do, **values}) + "\n"
        try:
            self._signal("SIGCONT")
            self._child.stdin.write(line)
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise EngineError(self._last_words())
        self._signal("SIGSTOP")
        reply: dict[str, Any] = json.loads(answer)
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            if stream:
                stream.close()

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self._child.poll() is None:
            self._child.send_signal(getattr(signal, name))

    def _last_words(self) -> str:
        status = self._child.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return f"its process ended with status {status}" + (f": {lines[-1]}" if lines else "")


def _environment(threads: int, level: str | None) -> dict[str, str]:
    chosen = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    source = str(Path(__file__).resolve().parents[3])
    chosen["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    if level is not None:
        chosen["INTFORMER_ISA"] = level
    return chosen


def _pin(pid: int, threads: int) -> None:
    """Keep a process on the last cores: the system uses the first for its own work."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, cores[-threads:])
