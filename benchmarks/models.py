"""Runs ``intformer bench`` on well-known shapes and writes the tables of docs/benchmarks.md.

    python benchmarks/models.py [--results out/bench] [--only deit_tiny ...] [OPTIONS]

Further OPTIONS go to the command, for example ``--threads 1``. A model whose result is in the
folder is not measured again; delete the file to do so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import geometric_mean

from intformer.evaluate.bench import tables
from intformer.evaluate.bench.results import Results

BATCHES = {
    "deit_tiny": "1,8",
    "deit_small": "1",
    "deit_base": "1",
    "vit_s14": "1",
    "minilm": "1,8",
    "bert_base": "1",
}
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by benchmarks/models.py -->", "<!-- end -->"
TITLES = {
    "fastest_float": "fastest float32 engine",
    "fastest_int8": "fastest other int8 engine",
    "torch_eager": "PyTorch float32 eager",
}


def measure(model: str, file: Path, options: list[str]) -> None:
    """One run of the command; its JSON goes to ``file``."""
    chosen = ["--batch", BATCHES[model], "--levels", "avx2,avxvnni", *options, "--json"]
    command = [sys.executable, "-m", "intformer.cli.main", "bench", f"arch:{model}", *chosen]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    file.write_text(done.stdout)


def summary(found: dict[str, dict[str, object]]) -> list[str]:
    """Ratios of every model, and their geometric means over the models."""
    lines = [f"| kernels | model | {' | '.join(TITLES.values())} |", "|---|---|---:|---:|---:|"]
    for level in ("best", *next(iter(found.values()))["ratios_by_level"]):  # type: ignore[misc]
        by_model = {model: _ratios(stored, level) for model, stored in found.items()}
        for model, ratios in by_model.items():
            lines.append(f"| {level} | {model} | {_cells(ratios)} |")
        means = {
            name: geometric_mean([r[name] for r in by_model.values() if r[name]]) for name in TITLES
        }
        lines.append(f"| {level} | **geometric mean** | {_cells(means, '**')} |")
    return lines


def _ratios(stored: dict[str, object], level: str) -> dict[str, float]:
    found = stored["ratios"] if level == "best" else stored["ratios_by_level"][level]  # type: ignore[index]
    return dict(found)  # type: ignore[call-overload, no-any-return]


def _cells(ratios: dict[str, float], mark: str = "") -> str:
    return " | ".join(f"{mark}{ratios[name]:.2f}x{mark}" for name in TITLES)


def write(found: dict[str, dict[str, object]]) -> None:
    """Replace the generated part of the document."""
    sections = [tables.markdown(Results.from_json(stored)) for stored in found.values()]
    text = DOCUMENT.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    made = "\n".join([BEGIN, "", *summary(found), "", *sections])
    DOCUMENT.write_text(f"{before}{made}\n{after}", encoding="utf-8")


def main() -> None:
    """Measure what is not measured yet, then write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("out/bench"))
    parser.add_argument("--only", nargs="+", choices=BATCHES, default=list(BATCHES))
    arguments, options = parser.parse_known_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    found = {}
    for model in arguments.only:
        file = arguments.results / f"{model}.json"
        if not file.exists():
            measure(model, file, options)
        found[model] = json.loads(file.read_text())
    write(found)


if __name__ == "__main__":
    main()
