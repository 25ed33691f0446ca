"""Kernel measurements as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from intformer.evaluate.bench.kernels import KernelRow

HEADER = ("kernel", "weights", "form", "#M", "#K", "#N", "#threads", "#rate", "#limit")
SHARES = ("#%", "#median %", "#exact %")
NOTE = (
    "rate: GMAC/s, of kernels that move data GB/s. limit: the same arithmetic from registers, or a "
    "copy of as many bytes, probed in turns with the kernel. exact %: of the probe of pair-safe "
    "int8 (AVX2) or VNNI products."
)


def body(rows: Sequence[KernelRow]) -> list[list[str]]:
    """Cells as text."""
    return [
        [
            row.kernel,
            row.weights,
            row.form,
            *(str(n) for n in (row.rows, row.depth, row.columns, row.threads)),
            f"{row.best:.3g}",
            f"{row.limit:.3g}" if row.limit else "–",
            *(_percent(s) for s in (row.share, row.median_share, _exact(row))),
        ]
        for row in rows
    ]


def by_level(rows: Sequence[KernelRow]) -> dict[str, list[KernelRow]]:
    """Rows of each level, in the order they were measured."""
    found: dict[str, list[KernelRow]] = {}
    for row in rows:
        found.setdefault(row.level, []).append(row)
    return found


def rich_tables(rows: Sequence[KernelRow]) -> list[Table]:
    """For the terminal, one per level."""
    from intformer.cli.console import table

    header = [*HEADER, *SHARES]
    return [
        table(f"Kernels, {level}", header, body(part)) for level, part in by_level(rows).items()
    ]


def markdown(rows: Sequence[KernelRow], machine: str, command: str) -> str:
    """A section for a document."""
    titles = [*HEADER, *SHARES]
    align = ["---:" if title.startswith("#") else "---" for title in titles]
    text = [f"{machine}, `{command}`", "", NOTE, ""]
    for level, part in by_level(rows).items():
        lines = [[title.lstrip("#") for title in titles], align, *body(part)]
        text += [f"### {level}", "", *(f"| {' | '.join(line)} |" for line in lines), ""]
    return "\n".join(text)


def _exact(row: KernelRow) -> float | None:
    return row.exact_share if row.unit == "GMAC/s" else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"
