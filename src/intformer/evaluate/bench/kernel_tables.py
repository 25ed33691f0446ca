"""Kernel measurements as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from intformer.evaluate.bench.kernels import KernelRow

HEADER = ("level", "kernel", "weights", "form", "#M", "#K", "#N", "#threads", "#rate", "unit")
SHARES = ("#limit", "#% of limit", "#median %", "#% of exact limit")
NOTE = (
    "limit: the same arithmetic from registers, or a copy of as many bytes, probed in turns with "
    "the kernel; exact limit: the probe of pair-safe int8 (AVX2) or VNNI products"
)


def body(rows: Sequence[KernelRow]) -> list[list[str]]:
    """Cells as text."""
    return [
        [
            row.level,
            row.kernel,
            row.weights,
            row.form,
            *(str(n) for n in (row.rows, row.depth, row.columns, row.threads)),
            f"{row.best:.3g}",
            row.unit,
            f"{row.limit:.3g}" if row.limit else "–",
            *(_percent(s) for s in (row.share, row.median_share, _exact(row))),
        ]
        for row in rows
    ]


def rich_table(rows: Sequence[KernelRow]) -> Table:
    """For the terminal."""
    from intformer.cli.console import table

    return table("Kernels against the limit of this machine", [*HEADER, *SHARES], body(rows))


def markdown(rows: Sequence[KernelRow], machine: str, command: str) -> str:
    """A section for a document."""
    titles = [*HEADER, *SHARES]
    align = ["---:" if title.startswith("#") else "---" for title in titles]
    lines = [[title.lstrip("#") for title in titles], align, *body(rows)]
    table = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join(["### Kernels", "", *table, "", NOTE, "", f"{machine}  ", f"`{command}`", ""])


def _exact(row: KernelRow) -> float | None:
    return row.exact_share if row.unit == "GMAC/s" else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"
