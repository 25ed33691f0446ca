"""The HTML page of a training: curves, the program, how it was made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from intformer.evaluate.curves import Curve
from intformer.evaluate.report import Report, write_report
from intformer.evaluate.summary import float_bytes, summarize
from intformer.program import Program

CURVES = {"loss": "", "top1": " %", "learning_rate": "", "gradient_norm": ""}
"""Field of the log -> unit."""


def curves(log: list[dict[str, Any]]) -> list[Curve]:
    """A curve over the epochs for every field that was logged."""
    found = []
    for name, unit in CURVES.items():
        points = [(row["epoch"], row[name]) for row in log if row[name] is not None]
        if points:
            found.append(Curve(name.replace("_", " "), points, unit))
    return found


def write_training_report(
    job: Any, program: Program, log: list[dict[str, Any]], path: Path
) -> None:
    """Write the page; ``job`` has ``source``, ``data``, ``recipe`` and ``options``."""
    summary = summarize(program.graph)
    top1 = [row["top1"] for row in log if row["top1"] is not None]
    tiles = [(f"{top1[-1]:.2f} %", "top-1 of the integer program")] if top1 else []
    if log:
        tiles.append((f"{log[-1]['step']:,}", "steps"))
    size = sum(summary.bytes_by_class.values())
    tiles.append((f"{size / 1e6:.2f} MB", f"{100 * size / float_bytes(summary):.1f} % of float32"))
    options = {name.replace("_", " "): v for name, v in dataclasses.asdict(job.options).items()}
    report = Report(
        title="A program trained in integers",
        subtitle=f"{job.source}, fine-tuned on {job.data}. Every forward pass of the training "
        "computed the integers of the program.",
        summary=summary,
        tiles=tiles,
        curves=curves(log),
        facts={"recipe": job.recipe, **options},
    )
    write_report(report, path)
