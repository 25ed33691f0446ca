"""``intformer inspect``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.operators import chosen, print_chosen
from intformer.cli.options import Json, ProgramFile
from intformer.ir.meanings import recorded_meanings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from intformer.evaluate.products import Product
    from intformer.evaluate.scale_trace import ScaleStep
    from intformer.evaluate.summary import Summary
    from intformer.ir.graph import Graph


def inspect(
    file: ProgramFile,
    nodes: Annotated[bool, typer.Option("--nodes", help="List every operator.")] = False,
    scales: Annotated[
        bool,
        typer.Option(
            "--scales",
            help="List what real number each integer stands for, and where each scale is born, "
            "multiplied, matched and re-scaled.",
        ),
    ] = False,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers",
            help="List every linear layer: its weight group and how each instruction-set level "
            "computes it.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a program consists of: operators, sizes, ranges, recipe and origin.

    \b
    Examples:
      intformer inspect vit.onnx
      intformer inspect vit.onnx --layers
      intformer inspect vit.onnx --nodes | less
      intformer inspect en-de.onnx --scales
      intformer inspect vit.onnx --json
    """
    graph = load_program(file).graph
    from intformer.evaluate.products import products
    from intformer.evaluate.scale_trace import scale_trace
    from intformer.evaluate.summary import summarize
    from intformer.ir.text import dump

    summary = summarize(graph)
    if as_json:
        extra: dict[str, Any] = {"file": str(file), "bytes": file.stat().st_size}
        if nodes:
            extra["nodes"] = dump(graph).splitlines()
        if scales:
            extra["scales"] = _scales(graph)
            extra["scale_trace"] = [step.to_json() for step in scale_trace(graph)]
        if layers:
            extra["products"] = [product.to_json() for product in products(graph)]
        extra["chosen_operators"] = chosen(graph)
        console.print_json({**extra, **summary.to_json()})
        return
    out = console.output()
    _overview(out, str(file), file.stat().st_size, summary)
    print_chosen(out, graph)
    if scales:
        rows = ((name, *entry) for name, entry in _scales(graph).items())
        out.print(console.table("Scales", ["value", "#scale", "#zero point"], rows))
        _print_trace(out, scale_trace(graph))
    if layers:
        out.print(_products(products(graph)))
    if nodes:
        out.print(dump(graph), markup=False, soft_wrap=True)


def _overview(out: Console, file: str, size: int, summary: Summary) -> None:
    from intformer.evaluate.summary import bits

    lines = {
        "file": f"{file} ({console.megabytes(size)})",
        **{f"input {name}": kind for name, kind in summary.inputs.items()},
        **{f"output {name}": kind for name, kind in summary.outputs.items()},
        "parameters": f"{summary.parameters:,} in {summary.layers} layers",
        "widest value": f"{summary.accumulator_bits} bits",
        **({"tokenizer": summary.tokenizer} if summary.tokenizer else {}),
    }
    out.print(console.facts("Program", lines))
    out.print(console.table("Operators", ["operator", "#count"], summary.operators.items()))
    total = max(sum(summary.bytes_by_class.values()), 1)
    sizes = (
        (
            kind,
            summary.elements_by_class[kind],
            console.megabytes(count),
            f"{100 * count / total:.1f}",
        )
        for kind, count in summary.bytes_by_class.items()
    )
    out.print(console.table("Size", ["tensors", "#elements", "#bytes", "#%"], sizes))
    ranges = (
        (name, dtype, f"{low:,}", f"{high:,}", bits((low, high)))
        for name, dtype, (low, high) in summary.widest
    )
    columns = ["value", "dtype", "#lowest", "#highest", "#bits"]
    out.print(console.table("Proved ranges (the fullest)", columns, ranges))
    for title, stored in (
        ("Task", summary.task),
        ("Recipe", summary.recipe),
        ("Origin", summary.provenance),
    ):
        if isinstance(stored, dict):
            out.print(console.facts(title, {k: _text(v) for k, v in stored.items()}))


def _print_trace(out: Console, steps: list[ScaleStep]) -> None:
    from intformer.evaluate.scale_trace import requantizations

    rows = (
        (
            s.layer,
            s.op,
            s.event,
            " × ".join(s.operands) if s.event == "multiplied" else " | ".join(s.operands),
            s.result,
            s.dtype,
        )
        for s in steps
    )
    columns = ["layer", "operator", "scale is", "from", "to", "integers"]
    out.print(console.table("Scale propagation", columns, rows))
    each, own = requantizations(steps)
    out.print(
        f"{own} requantizations; one after every operator would be {each}: {each - own} saved",
        markup=False,
        highlight=False,
    )


def _products(found: Sequence[Product]) -> Table:
    from intformer.evaluate.products import LEVELS

    rows = (
        (p.layer, p.op, p.depth, p.columns, p.group, *(p.forms[level] for level in LEVELS))
        for p in found
    )
    columns = ["layer", "operator", "#K", "#O", "#group", *LEVELS]
    return console.table("Linear layers", columns, rows)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _scales(graph: Graph) -> dict[str, tuple[Any, Any]]:
    """Value -> (scale, zero point), of the outputs and of the layers where they are recorded."""
    values = recorded_meanings(graph).compared
    found: dict[str, tuple[Any, Any]] = {
        name: (each.scale, each.zero_point) for name, each in values.items()
    }
    for name, stored in json.loads(graph.metadata.get("scales", "{}")).items():
        scale = stored if isinstance(stored, dict) else {"scale": stored}
        found[f"output {name}"] = (scale.get("scale"), scale.get("zero_point", 0))
    return found
