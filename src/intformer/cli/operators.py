"""What a program tells about operators that other papers published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from intformer.cli import console

if TYPE_CHECKING:
    from rich.console import Console

    from intformer.ir.graph import Graph


def chosen(graph: Graph) -> list[dict[str, Any]]:
    """The recorded choice of every layer that does not simply have our operator."""
    found = json.loads(graph.metadata.get("operators", "[]"))
    return [entry for entry in found if isinstance(entry, dict)]


def stand_ins(graph: Graph) -> list[str]:
    """One line for each layer in which ours stands in for the operator that was asked for."""
    return [
        f"{entry.get('layer')}: {entry['operator']} instead of {entry['asked']} ({entry['reason']})"
        for entry in chosen(graph)
        if "asked" in entry
    ]


def print_chosen(out: Console, graph: Graph) -> None:
    """A table by operator, then the layers in which ours stands in."""
    groups: dict[str, list[float]] = {}
    for entry in chosen(graph):
        groups.setdefault(str(entry.get("operator")), []).append(entry.get("snr_db", float("nan")))
    if not groups:
        return
    rows = ((name, len(found), _range(found)) for name, found in groups.items())
    out.print(console.table("Operators by layer", ["operator", "#layers", "#own dB"], rows))
    for line in stand_ins(graph):
        out.print(line, markup=False, highlight=False)


def _range(found: list[float]) -> str:
    known = sorted(value for value in found if value == value)
    return f"{known[0]:.1f} to {known[-1]:.1f}" if known else ""
