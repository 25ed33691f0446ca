"""``intformer bench``."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intformer.cli import console
from intformer.cli.options import Against, Json, Output, Weights
from intformer.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from intformer.evaluate.bench.prepare import Model
    from intformer.evaluate.bench.results import Results
    from intformer.evaluate.bench.runner import Plan

QUICK_ROUNDS, QUICK_SECONDS = 2, 0.05


def bench(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="PROGRAM|SOURCE",
            show_default=False,
            help="An integer program, or a float model that is quantized on the spot: zoo:NAME, "
            "timm:NAME, hf:FOLDER, a float .onnx file, or arch:NAME (random weights): deit_tiny, "
            "deit_small, deit_base, vit_s14, minilm, bert_base, vit_nano.",
        ),
    ] = None,
    threads: Annotated[str, typer.Option(metavar="N,...", help="Numbers of threads.")] = "1,2",
    batch: Annotated[str, typer.Option(metavar="N,...", help="Batch sizes.")] = "1,8",
    tokens: Annotated[int, typer.Option(min=1, help="Length of text sequences.")] = 128,
    peers: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="all, none, or some of torch, torch-compile, ort, ort-u8s8, ort-u8u8, "
            "ort-dynamic, openvino, openvino-int8.",
        ),
    ] = "all",
    levels: Annotated[
        str,
        typer.Option(
            metavar="LEVEL,...",
            help="Measure intformer at these instruction-set levels too, for example avx2.",
        ),
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each engine.")] = 7,
    quick: Annotated[bool, typer.Option("--quick", help="Few and short turns.")] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="How a SOURCE is quantized; 'intformer' if not given. For arch:NAME without the "
            "searches that only matter for accuracy.",
        ),
    ] = None,
    also: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Further recipes: each makes another program of the same SOURCE, measured in the "
            "same run.",
        ),
    ] = "",
    against: Against = None,
    weights: Weights = None,
    output: Output = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Markdown section.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a bar chart (.png or .svg).")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page (.html) with chart and table.")
    ] = None,
    kernels: Annotated[
        bool,
        typer.Option(
            "--kernels",
            help="Time each kernel, at every level or those of --levels, as a percentage of what "
            "this machine's instructions reach.",
        ),
    ] = False,
    shapes: Annotated[
        str, typer.Option(metavar="KxN,...", help="With --kernels: depths and columns of products.")
    ] = "192x576,384x1536,1536x384,768x3072,3072x768",
    rows: Annotated[
        int, typer.Option(min=1, max=4096, metavar="M", help="With --kernels: rows, or tokens.")
    ] = 197,
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

    _check_files(markdown, plot, report)
    if kernels:
        turns = QUICK_ROUNDS if quick else 2 * rounds
        wanted = kernel_plan(shapes, rows, _threads(threads), turns)
        bench_kernels(wanted, _levels(levels), markdown, as_json=as_json)
        return
    if what is None:
        raise InputError("bench: name a PROGRAM or SOURCE, or use --kernels; see --help")

    plan = Plan(
        threads=_threads(threads),
        batches=_counts("--batch", batch),
        rounds=QUICK_ROUNDS if quick else rounds,
        seconds=QUICK_SECONDS if quick else Plan.seconds,
        peers=_peers(peers),
        levels=_levels(levels),
    )
    model = _model(what, against, weights, output)
    results = _measure(model, plan, tokens, recipe, _recipes(also))
    _write(results, markdown, plot, report)
    if as_json:
        console.print_json(results.to_json())
    else:
        _print(results)


# -- arguments -------------------------------------------------------------------------------------


def _counts(option: str, text: str) -> list[int]:
    """``"1,8"`` as numbers."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(set(found)) != len(found):
        raise InputError(f"{option} {text}: give different numbers from 1, for example 1,8")
    return found


def _threads(text: str) -> list[int]:
    found = _counts("--threads", text)
    cores = len(os.sched_getaffinity(0))
    if max(found) > cores:
        raise InputError(f"--threads {text}: this process may use {cores} cores")
    return found


def _peers(text: str) -> list[str]:
    from intformer.evaluate.bench.engines import PEERS

    if text in ("all", "none"):
        return list(PEERS) if text == "all" else []
    names = text.split(",")
    for name in names:
        if name not in PEERS:
            raise InputError(f"--peers: no engine '{name}'; there are {', '.join(PEERS)}")
    return names


def _recipes(text: str) -> list[str]:
    """Recipes by name or file, each of them readable."""
    from intformer.quantize.recipe import load_recipe

    names = text.split(",") if text else []
    for name in names:
        load_recipe(name)
    return names


def _levels(text: str) -> list[str]:
    from intformer.runtime.session import describe

    available = describe().get("levels", [])
    assert isinstance(available, list)
    names = text.split(",") if text else []
    for name in names:
        if name not in available:
            there = ", ".join(available) or "none"
            raise InputError(f"--levels: no level '{name}' here; there are {there}")
    return names


def _check_files(markdown: Path | None, plot: Path | None, report: Path | None) -> None:
    """Complain before minutes of measuring, not after."""
    from intformer.evaluate.bench.plot import plot_format

    if plot is not None:
        plot_format(plot)
    for file in (markdown, plot, report):
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file}: there is no folder {file.parent}")


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
        return Model(what, _source(what, weights, output), None)
    if against is not None:
        from intformer.evaluate.bench.prepare import origin

        return Model(
            what, _source(against, weights, output or origin(program).get("output")), Path(what)
        )
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


def _source(name: str, weights: Path | None, output: str | None) -> Any:
    if name.startswith("arch:"):
        from intformer.evaluate.bench.architectures import architecture

        return architecture(name.removeprefix("arch:"))
    from intformer.cli.loading import load_source

    return load_source(name, weights, output)


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


def _print(results: Results) -> None:
    from intformer.evaluate.bench import tables

    out = console.output()
    out.print(tables.rich_table(results))
    for line in tables.notes(results):
        out.print(line, markup=False)
    out.print(tables.machine_line(results), markup=False)
