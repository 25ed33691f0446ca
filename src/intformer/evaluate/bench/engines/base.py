"""What an engine is to the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from intformer.evaluate.bench.job import FLOAT, Array, Feed, Job

Run = Callable[[Feed], Array]
"""Runs one batch and returns the compared output."""


def _nothing(job: Job) -> None:
    """For engines that take the float model as it is."""


@dataclass(frozen=True)
class Engine:
    """A library in one configuration.

    Attributes:
        name: as given to ``--peers``.
        title: for people.
        precision: ``"float32"`` or ``"int8"``.
        packages: distributions that must be installed.
        load: makes the runner from a job and a number of threads, in the measured process.
        prepare: converts or quantizes the float model, in a process that is not measured.
        needs: file names in the job's folder without which the engine cannot run.
        inputs: the set of inputs that the engine takes.
    """

    name: str
    title: str
    precision: str
    packages: tuple[str, ...]
    load: Callable[[Job, int], Run]
    prepare: Callable[[Job], None] = _nothing
    needs: tuple[str, ...] = ()
    inputs: str = FLOAT

    def missing(self) -> str | None:
        """How to install what is absent, or None."""
        absent = [name for name in self.packages if _version(name) is None]
        return f"not installed: pip install {' '.join(absent)}" if absent else None

    def versions(self) -> dict[str, str]:
        """Installed versions by distribution."""
        found = {name: _version(name) for name in self.packages}
        return {name: text for name, text in found.items() if text is not None}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
