"""Rows of measurements and the ratios that follow from them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import geometric_mean
from typing import Any

OURS = "intformer"

Configuration = tuple[int, int]
"""Threads and batch size."""


@dataclass
class Row:
    """One engine in one configuration.

    Attributes:
        engine: name; ``intformer[RECIPE]`` for another recipe than the main one, with ``@LEVEL``
            behind it for a forced instruction-set level.
        title: for people.
        precision: ``"float32"`` or ``"int8"``.
        threads, batch: the configuration.
        ms: median milliseconds of one run of the whole batch; None if it did not run.
        fastest_ms: of the fastest run.
        runs: number of timed runs.
        waited: seconds per second in which its threads waited for a core that other processes
            held; a busy machine if not near 0.
        agreement: mean cosine similarity with the float model's outputs.
        same_label: share of inputs whose largest logit is the float model's, for classifiers.
        memory_mb: peak memory of a fresh process that loaded the model and ran it once.
        first_result_ms: loading and the first run in that process.
        problem: why there is no measurement.
    """

    engine: str
    title: str
    precision: str
    threads: int
    batch: int
    ms: float | None = None
    fastest_ms: float | None = None
    runs: int = 0
    waited: float = 0.0
    agreement: float | None = None
    same_label: float | None = None
    memory_mb: float | None = None
    first_result_ms: float | None = None
    problem: str | None = None

    @property
    def configuration(self) -> Configuration:
        """Threads and batch size."""
        return self.threads, self.batch

    @property
    def ms_per_input(self) -> float | None:
        """Median milliseconds per image or sequence."""
        return None if self.ms is None else self.ms / self.batch


@dataclass
class Results:
    """All rows of one model, and what they were measured on."""

    source: str
    rows: list[Row]
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def engines(self) -> list[str]:
        """Engines in the order of their first rows."""
        return list(dict.fromkeys(row.engine for row in self.rows))

    @property
    def configurations(self) -> list[Configuration]:
        """Configurations in the order they were measured."""
        return list(dict.fromkeys(row.configuration for row in self.rows))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        others = [e for e in self.engines if is_ours(e) and e != OURS]
        return {
            "source": self.source,
            "rows": [{**asdict(row), "ms_per_input": row.ms_per_input} for row in self.rows],
            "ratios": ratios(self.rows),
            "ratios_by_variant": {e.removeprefix(OURS): ratios(self.rows, e) for e in others},
            "losses": losses(self.rows),
            "machine": self.machine,
            "versions": self.versions,
            "settings": self.settings,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Results:
        """Read what ``to_json`` made."""
        names = {known.name for known in fields(Row)}
        rows = [Row(**{k: v for k, v in row.items() if k in names}) for row in stored["rows"]]
        kept = {key: stored[key] for key in ("machine", "versions", "settings")}
        return cls(stored["source"], rows, **kept)


def is_ours(engine: str) -> bool:
    """Whether rows of this name are measurements of intformer."""
    return re.split(r"[\[@]", engine)[0] == OURS


def ratios(rows: Sequence[Row], ours: str = OURS) -> dict[str, float | None]:
    """How many times faster ``ours`` is, as geometric means over the configurations.

    ``fastest_float`` and ``fastest_int8`` compare with the fastest peer of that precision in each
    configuration, ``torch_eager`` with PyTorch float32 eager; None where there is nothing to
    compare with.
    """
    peers = [row for row in rows if row.ms is not None and not is_ours(row.engine)]
    mine = {row.configuration: row.ms for row in rows if row.engine == ours and row.ms}
    chosen = {
        "fastest_float": [row for row in peers if row.precision == "float32"],
        "fastest_int8": [row for row in peers if row.precision == "int8"],
        "torch_eager": [row for row in peers if row.engine == "torch"],
    }
    return {name: _ratio(mine, fastest(some)) for name, some in chosen.items()}


def fastest(rows: Iterable[Row]) -> dict[Configuration, float]:
    """The smallest median of each configuration."""
    best: dict[Configuration, float] = {}
    for row in rows:
        if row.ms is not None:
            best[row.configuration] = min(row.ms, best.get(row.configuration, math.inf))
    return best


def _ratio(mine: dict[Configuration, float], theirs: dict[Configuration, float]) -> float | None:
    both = [theirs[configuration] / mine[configuration] for configuration in mine.keys() & theirs]
    return geometric_mean(both) if both else None


def losses(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every configuration in which a peer is faster than intformer at its best level."""
    mine = {row.configuration: row.ms for row in rows if row.engine == OURS and row.ms}
    return [
        {
            "engine": row.engine,
            "threads": row.threads,
            "batch": row.batch,
            "ratio": row.ms / mine[row.configuration],
        }
        for row in rows
        if row.ms is not None
        and not is_ours(row.engine)
        and row.ms < mine.get(row.configuration, 0)
    ]
