"""Results as one self-contained HTML page: chart, table, ratios, machine."""

from __future__ import annotations

from pathlib import Path

from intformer.evaluate.bench import tables
from intformer.evaluate.bench.plot import chart
from intformer.evaluate.bench.results import Results, ratios
from intformer.evaluate.report import fill


def write_page(results: Results, file: Path) -> None:
    """Write the page.

    Raises:
        InputError: matplotlib is not installed.
    """
    file.write_text(render_page(results), encoding="utf-8")


def render_page(results: Results) -> str:
    """The page as text; it refers to nothing outside itself."""
    header = tables.header(results)
    svg = chart(results, "svg").decode()
    found = ratios(results.rows)
    return fill(
        "bench.html.j2",
        title=results.source,
        tiles=[(f"{v:.2f}x", tables.RATIOS[name]) for name, v in found.items() if v is not None],
        chart=svg[svg.index("<svg") :],
        header=[(title.lstrip("#"), title.startswith("#")) for title in header],
        rows=tables.body(results),
        notes=tables.notes(results),
        machine=tables.machine_line(results),
        command=results.settings.get("command", ""),
    )
