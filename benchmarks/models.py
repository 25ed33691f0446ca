"""Runs ``intformer bench`` on well-known shapes and writes docs/benchmarks.md and README.md.

    python benchmarks/models.py [--results out/bench] [--only deit_tiny ...] [OPTIONS]
    python benchmarks/avx2_only/run.py python benchmarks/models.py --results out/avx2 --place avx2

Further OPTIONS go to the command, for example ``--threads 1`` or ``--also w4a8``. A model whose
result is in the folder is not measured again; delete the file to do so. Tables hold every result
that the folder has. ``--place`` names the part of docs/benchmarks.md to write, one a machine.
README.md has a table of those that it has a place for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from intformer.evaluate.bench import tables
from intformer.evaluate.bench.results import Results

MODELS = ("deit_tiny", "deit_small", "deit_base", "vit_s14", "minilm", "bert_base")
ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- written by benchmarks/models.py{} -->", "<!-- end -->"
TITLES = {
    "fastest_float": "fastest float32 engine",
    "fastest_int8": "fastest other int8 engine",
    "torch_eager": "PyTorch float32 eager",
}

Stored = dict[str, dict[str, Any]]
"""What ``intformer bench --json`` printed, by model."""


def measure(model: str, file: Path, options: list[str]) -> None:
    """One run of the command; its JSON goes to ``file``."""
    command = [sys.executable, "-m", "intformer.cli.main", "bench", f"arch:{model}", *options]
    done = subprocess.run([*command, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    file.write_text(done.stdout)


def variants(found: Stored) -> list[str]:
    """Names of the programs and levels measured, the main program at its best level first."""
    names = [name for stored in found.values() for name in stored["ratios_by_variant"]]
    return ["", *dict.fromkeys(names)]


def of_variant(found: Stored, variant: str) -> dict[str, dict[str, float]]:
    """Ratios by model."""
    ratios = {
        model: stored["ratios_by_variant"].get(variant) if variant else stored["ratios"]
        for model, stored in found.items()
    }
    return {model: known for model, known in ratios.items() if known}


def means(by_model: dict[str, dict[str, float]]) -> dict[str, float]:
    """Geometric means over the models."""
    return {
        name: geometric_mean([r[name] for r in by_model.values() if r[name]]) for name in TITLES
    }


def label(variant: str) -> str:
    """``[w4a8]@avx2`` in words."""
    recipe, _, level = variant.partition("@")
    return " ".join(filter(None, [recipe.strip("[]") or "W8A8", f"({level})" if level else ""]))


def summary(found: Stored) -> list[str]:
    """Ratios of every model and program, and their geometric means over the models."""
    lines = [f"| program | model | {' | '.join(TITLES.values())} |", "|---|---|---:|---:|---:|"]
    for variant in variants(found):
        by_model = of_variant(found, variant)
        lines += [f"| {label(variant)} | {m} | {_cells(r)} |" for m, r in by_model.items()]
        lines.append(f"| {label(variant)} | **geometric mean** | {_cells(means(by_model), '**')} |")
    return lines


def overview(found: Stored) -> list[str]:
    """For the README: milliseconds beside the fastest peers, and the means."""
    titles = ["intformer, ms", *(f"x {title}" for title in TITLES.values())]
    lines = [f"| shape | {' | '.join(titles)} |", f"|---|{'---:|' * len(titles)}"]
    for model, ratios in of_variant(found, "").items():
        results = Results.from_json(found[model])
        own = [r for r in results.rows if r.engine == "intformer" and r.batch == 1]
        times = " / ".join(tables.milliseconds(row) for row in own)
        lines.append(f"| {model} | {times} | {_cells(ratios)} |")
    total = _cells(means(of_variant(found, "")), "**")
    first = Results.from_json(next(iter(found.values())))
    threads = " and ".join(str(n) for n in dict.fromkeys(row.threads for row in first.rows))
    batches = " and ".join(str(n) for n in dict.fromkeys(row.batch for row in first.rows))
    words = [
        f"Milliseconds are for batch 1 on {threads} threads, ratios geometric means over these "
        f"threads and batch {batches}.",
        tables.machine_line(first) + ".",
    ]
    return [*lines, f"| **geometric mean** | | {total} |", "", *words]


def _cells(ratios: dict[str, float], mark: str = "") -> str:
    return " | ".join(f"{mark}{ratios[name]:.2f}x{mark}" for name in TITLES)


def write(document: Path, lines: list[str], place: str = "") -> None:
    """Replace the generated part of a document, if it has one for ``place``."""
    text = document.read_text(encoding="utf-8")
    begin = BEGIN.format(f" --place {place}" if place else "")
    if begin not in text:
        return
    before, rest = text.split(begin)
    after = rest[rest.index(END) :]
    made = "\n".join([begin, "", *lines, ""])
    document.write_text(f"{before}{made}\n{after}", encoding="utf-8")


def main() -> None:
    """Measure what is not measured yet, then write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("out/bench"))
    parser.add_argument("--place", default="")
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS))
    arguments, options = parser.parse_known_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    for model in arguments.only:
        file = arguments.results / f"{model}.json"
        if not file.exists():
            measure(model, file, options)
    files = {model: arguments.results / f"{model}.json" for model in MODELS}
    found = {m: json.loads(file.read_text()) for m, file in files.items() if file.exists()}
    sections = [tables.markdown(Results.from_json(stored)) for stored in found.values()]
    write(ROOT / "docs" / "benchmarks.md", [*summary(found), "", *sections], arguments.place)
    write(ROOT / "README.md", overview(found), arguments.place)


if __name__ == "__main__":
    main()
