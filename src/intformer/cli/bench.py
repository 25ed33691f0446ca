"""``intformer bench``."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intformer.cli import console
from intformer.cli.bench_options import (
    Also,
    BatchSizes,
    BenchRecipe,
    Kernels,
    Levels,
    MarkdownFile,
    Peers,
    PlotFile,
    Quick,
    ReportFile,
    Rounds,
    Rows,
    Shapes,
    ThreadCounts,
    Tokens,
    What,
    check_files,
    read_counts,
    read_levels,
    read_peers,
    read_recipes,
    read_threads,
)
from intformer.cli.options import Against, Json, Output, Weights
from intformer.errors import ArtifactError, InputError
from intformer.evaluate.origin import Origin

if TYPE_CHECKING:
    from intformer.evaluate.bench.prepare import Model
    from intformer.evaluate.bench.results import Results
    from intformer.evaluate.bench.runner import Plan

QUICK_ROUNDS, QUICK_SECONDS = 2, 0.05

TURNS = 8
"""Turns of a kernel, which are short, for each turn of an engine."""


def bench(
    what: What = None,
    threads: ThreadCounts = "1,2",
    batch: BatchSizes = "1,8",
    tokens: Tokens = 128,
    peers: Peers = "all",
    levels: Levels = "",
    rounds: Rounds = 7,
    quick: Quick = False,
    recipe: BenchRecipe = None,
    also: Also = "",
    against: Against = None,
    weights: Weights = None,
    output: Output = None,
    markdown: MarkdownFile = None,
    plot: PlotFile = None,
    report: ReportFile = None,
    kernels: Kernels = False,
    shapes: Shapes = "192x576,384x1536,1536x384,768x3072,3072x768",
    rows: Rows = 197,
    as_json: Json = False,
) -> None:
    """Measure speed, memory and agreement against PyTorch, ONNX Runtime and OpenVINO.

    Engines run in processes of their own on the same cores and take turns. Inputs are random,
    never zeros. A peer that is not installed gets a line that says how to install it. For a
    program, the float model is found where it was made from, or named with --against.

    \b
    Examples:
      intformer bench zoo:vit_cifar10
      intformer bench arch:deit_small --threads 1,2 --batch 1 --levels avx2
      intformer bench vit.onnx --against zoo:vit_cifar10 --peers torch,ort-u8s8 --json
      intformer bench --kernels --threads 1 --levels avx2 --shapes 384x1536
    """
    from intformer.cli.bench_kernels import bench_kernels, kernel_plan
    from intformer.evaluate.bench.runner import Plan

    check_files(markdown, plot, report)
    if kernels:
        turns = QUICK_ROUNDS if quick else TURNS * rounds
        wanted = kernel_plan(shapes, rows, read_threads(threads), turns)
        bench_kernels(wanted, read_levels(levels), markdown, as_json=as_json)
        return
    if what is None:
        raise InputError("bench: name a PROGRAM or SOURCE, or use --kernels; see --help")

    plan = Plan(
        threads=read_threads(threads),
        batches=read_counts("--batch", batch),
        rounds=QUICK_ROUNDS if quick else rounds,
        seconds=QUICK_SECONDS if quick else Plan.seconds,
        peers=read_peers(peers),
        levels=read_levels(levels),
    )
    model = _model(what, against, weights, output)
    results = _measure(model, plan, tokens, recipe, read_recipes(also))
    _write(results, markdown, plot, report)
    _print(results, as_json=as_json)


# -- the model -------------------------------------------------------------------------------------


def _model(what: str, against: str | None, weights: Path | None, output: str | None) -> Model:
    """The program or source named on the command line.

    Raises:
        IntformerError: it is neither.
    """
    from intformer.evaluate.bench.prepare import Model, source_of

    program = _program(what)
    if program is None:
        if against is not None:
            raise InputError("--against is for programs; a SOURCE is measured against itself")
        return Model(what, _source(Origin(what, output), weights), None)
    if against is not None:
        known = Origin.of_program(program.graph).against(against, output)
        return Model(what, _source(known, weights), Path(what))
    return Model(what, source_of(program), Path(what))


def _program(what: str) -> Any:
    """The program in a file, None if it is a float model or no file."""
    if not what.endswith(".onnx") or what.partition(":")[0] in ("zoo", "timm", "hf", "arch"):
        return None
    from intformer.cli.loading import load_program

    try:
        return load_program(Path(what))
    except ArtifactError as error:
        from intformer.frontend.onnx_file import load_model

        if any(node.domain == "intformer" for node in load_model(what).graph.node):
            raise error from None
        return None


def _source(origin: Origin, weights: Path | None) -> Any:
    if origin.source.startswith("arch:"):
        from intformer.evaluate.bench.architectures import architecture

        return architecture(origin.source.removeprefix("arch:"))
    from intformer.cli.loading import load_source

    return load_source(origin, weights)


# -- measuring -------------------------------------------------------------------------------------


def _measure(
    model: Model, plan: Plan, tokens: int, recipe: str | None, also: Sequence[str]
) -> Results:
    from intformer.evaluate.bench.prepare import make_job, recipe_for
    from intformer.evaluate.bench.results import Results
    from intformer.evaluate.bench.runner import measure

    chosen = recipe_for(model, recipe)
    with tempfile.TemporaryDirectory(prefix="intformer-bench-") as folder, console.stages() as bars:
        job, reference = make_job(
            Path(folder),
            model,
            batch=max(plan.batches),
            tokens=tokens,
            recipe=chosen,
            also=also,
            progress=bars,
        )
        rows = measure(job, plan, reference, bars)
    settings = {
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "tokens": tokens,
        "recipe": chosen if model.program is None else None,
        "inputs": "random",
        "command": shlex.join(["intformer", *sys.argv[1:]]),
    }
    return Results(model.name, rows, _machine(), _versions(plan.peers), settings)


def _machine() -> dict[str, Any]:
    from intformer.cli.doctor import machine
    from intformer.runtime.session import describe

    return {**machine(), **describe()}


def _versions(peers: Sequence[str]) -> dict[str, str]:
    from intformer import __version__
    from intformer.evaluate.bench.engines import PEERS

    found = {"intformer": __version__}
    for name in peers:
        found.update(PEERS[name].versions())
    return found


# -- results ---------------------------------------------------------------------------------------


def _write(results: Results, markdown: Path | None, plot: Path | None, report: Path | None) -> None:
    from intformer.evaluate.bench import tables
    from intformer.evaluate.bench.page import write_page
    from intformer.evaluate.bench.plot import write_plot

    if markdown is not None:
        with console.writing(markdown) as temporary:
            temporary.write_text(tables.markdown(results), encoding="utf-8")
    if plot is not None:
        with console.writing(plot) as temporary:
            write_plot(results, temporary)
    if report is not None:
        with console.writing(report) as temporary:
            write_page(results, temporary)


def _print(results: Results, *, as_json: bool) -> None:
    from intformer.evaluate.bench import tables

    if as_json:
        console.print_json(results.to_json())
        return
    out = console.output()
    out.print(tables.rich_table(results))
    for line in tables.notes(results):
        out.print(line, markup=False)
    out.print(tables.machine_line(results), markup=False)
