"""Results as a table for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from intformer.evaluate.bench.results import Configuration, Results, Row, is_ours, losses, ratios

if TYPE_CHECKING:
    from rich.table import Table

RATIOS = {
    "fastest_float": "the fastest float32 engine",
    "fastest_int8": "the fastest other int8 engine",
    "torch_eager": "PyTorch float32 eager",
}

BUSY = 0.05
"""Waiting per working time from which the machine is called busy."""


def configuration_text(configuration: Configuration) -> str:
    """``1 thread, batch 8``."""
    threads, batch = configuration
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"


def header(results: Results) -> list[str]:
    """Column titles; those of numbers begin with ``#``."""
    times = [f"#{configuration_text(c)}" for c in results.configurations]
    return ["engine", "numbers", *times, "#peak MB", "#cosine", "#same label"]


def body(results: Results) -> list[list[str]]:
    """One line per engine: milliseconds per input in each configuration, memory, agreement."""
    return [_line(results, engine) for engine in results.engines]


def _line(results: Results, engine: str) -> list[str]:
    rows = [row for row in results.rows if row.engine == engine]
    by_configuration = {row.configuration: row for row in rows}
    times = [milliseconds(by_configuration.get(c)) for c in results.configurations]
    first = rows[0]
    return [
        first.title,
        first.precision,
        *times,
        _number(first.memory_mb, 0),
        _number(_mean([row.agreement for row in rows]), 4),
        _percent(_mean([row.same_label for row in rows])),
    ]


def milliseconds(row: Row | None) -> str:
    """Per input; a dash where nothing was measured."""
    value = None if row is None else row.ms_per_input
    if value is None:
        return "–"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def problems(results: Results) -> list[str]:
    """Why engines have no times, once per engine and reason."""
    found = [f"{row.title}: {row.problem}" for row in results.rows if row.problem]
    return list(dict.fromkeys(found))


def busy_line(results: Results) -> list[str]:
    """A warning if other processes took the cores away."""
    worst = max((row.waited for row in results.rows), default=0.0)
    if worst < BUSY:
        return []
    average = _mean([row.waited for row in results.rows if row.ms is not None]) or 0.0
    return [
        f"the machine was busy: for every second of work, threads waited {average:.2f} s for a "
        f"core ({worst:.2f} s in the worst row); measure again when it is quiet"
    ]


def ratio_lines(results: Results) -> list[str]:
    """The ratios in words, and every configuration in which a peer is faster."""
    lines = []
    for engine in (engine for engine in results.engines if is_ours(engine)):
        title = next(row.title for row in results.rows if row.engine == engine)
        found = ratios(results.rows, engine)
        said = [f"{v:.2f}x {RATIOS[name]}" for name, v in found.items() if v is not None]
        if said:
            lines.append(f"{title}: " + ", ".join(said))
    titles = {row.engine: row.title for row in results.rows}
    for loss in losses(results.rows):
        where = configuration_text((loss["threads"], loss["batch"]))
        lines.append(f"slower than {titles[loss['engine']]} at {where}: {loss['ratio']:.2f}x")
    return lines


def notes(results: Results) -> list[str]:
    """Everything that belongs below the table."""
    return [*ratio_lines(results), *problems(results), *busy_line(results)]


def rich_table(results: Results) -> Table:
    """For the terminal."""
    from intformer.cli.console import table

    title = f"{results.source}: milliseconds per input, median"
    return table(title, header(results), body(results))


def markdown(results: Results) -> str:
    """A section for a document: table, ratios, problems, machine, versions and command."""
    titles = header(results)
    align = ["---:" if title.startswith("#") else "---" for title in titles]
    lines = [[title.lstrip("#") for title in titles], align, *body(results)]
    text = [f"### {results.source}", "", *(f"| {' | '.join(line)} |" for line in lines), ""]
    text += ["Milliseconds per input, medians of one interleaved run.", ""]
    text += [f"- {line}" for line in notes(results)]
    text += ["", f"{machine_line(results)}  ", f"`{results.settings.get('command', '')}`", ""]
    return "\n".join(text)


def machine_line(results: Results) -> str:
    """Processor, level and versions."""
    machine = results.machine
    versions = ", ".join(f"{name} {text}" for name, text in results.versions.items())
    return (
        f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores, kernels "
        f"{machine.get('level', '?')}; {versions}"
    )
