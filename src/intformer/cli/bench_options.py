"""Options of ``intformer bench``, and what their texts mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from intformer.errors import InputError

What = Annotated[
    str | None,
    typer.Argument(
        metavar="PROGRAM|SOURCE",
        show_default=False,
        help="An integer program, or a float model that is quantized on the spot: zoo:NAME, "
        "timm:NAME, hf:FOLDER, a float .onnx file, or arch:NAME (random weights): deit_tiny, "
        "deit_small, deit_base, vit_s14, minilm, bert_base, vit_nano.",
    ),
]
ThreadCounts = Annotated[str, typer.Option(metavar="N,...", help="Numbers of threads.")]
BatchSizes = Annotated[str, typer.Option(metavar="N,...", help="Batch sizes.")]
Tokens = Annotated[int, typer.Option(min=1, help="Length of text sequences.")]
Peers = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="all, none, or some of torch, torch-compile, ort, ort-u8s8, ort-u8u8, "
        "ort-dynamic, openvino, openvino-int8.",
    ),
]
Levels = Annotated[
    str,
    typer.Option(
        metavar="LEVEL,...",
        help="Measure intformer at these instruction-set levels too, for example avx2.",
    ),
]
Rounds = Annotated[int, typer.Option(min=1, help="Turns of each engine.")]
Quick = Annotated[bool, typer.Option("--quick", help="Few and short turns.")]
BenchRecipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="How a SOURCE is quantized; 'intformer' if not given. For arch:NAME without the "
        "searches that only matter for accuracy.",
    ),
]
Also = Annotated[
    str,
    typer.Option(
        metavar="NAME,...",
        help="Further recipes: each makes another program of the same SOURCE, measured in the "
        "same run.",
    ),
]
MarkdownFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a Markdown section.")
]
PlotFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a bar chart (.png or .svg).")
]
ReportFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a page (.html) with chart and table.")
]
Kernels = Annotated[
    bool,
    typer.Option(
        "--kernels",
        help="Time each kernel, at every level or those of --levels, as a percentage of what "
        "this machine's instructions reach.",
    ),
]
Shapes = Annotated[
    str, typer.Option(metavar="KxN,...", help="With --kernels: depths and columns of products.")
]
Rows = Annotated[
    int, typer.Option(min=1, max=4096, metavar="M", help="With --kernels: rows, or tokens.")
]


def read_counts(option: str, text: str) -> list[int]:
    """``"1,8"`` as numbers."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(set(found)) != len(found):
        raise InputError(f"{option} {text}: give different numbers from 1, for example 1,8")
    return found


def read_threads(text: str) -> list[int]:
    found = read_counts("--threads", text)
    cores = len(os.sched_getaffinity(0))
    if max(found) > cores:
        raise InputError(f"--threads {text}: this process may use {cores} cores")
    return found


def read_peers(text: str) -> list[str]:
    from intformer.evaluate.bench.engines import PEERS

    if text in ("all", "none"):
        return list(PEERS) if text == "all" else []
    names = text.split(",")
    for name in names:
        if name not in PEERS:
            raise InputError(f"--peers: no engine '{name}'; there are {', '.join(PEERS)}")
    return names


def read_recipes(text: str) -> list[str]:
    """Recipes by name or file, each of them readable."""
    from intformer.quantize.recipe import load_recipe

    names = text.split(",") if text else []
    for name in names:
        load_recipe(name)
    return names


def read_levels(text: str) -> list[str]:
    from intformer.runtime.session import describe

    available = describe().get("levels", [])
    assert isinstance(available, list)
    names = text.split(",") if text else []
    for name in names:
        if name not in available:
            there = ", ".join(available) or "none"
            raise InputError(f"--levels: no level '{name}' here; there are {there}")
    return names


def check_files(markdown: Path | None, plot: Path | None, report: Path | None) -> None:
    """Complain before minutes of measuring, not after."""
    from intformer.evaluate.bench.plot import plot_format

    if plot is not None:
        plot_format(plot)
    for file in (markdown, plot, report):
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file}: there is no folder {file.parent}")
