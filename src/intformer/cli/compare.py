"""``intformer compare``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intformer.cli import console
from intformer.cli.loading import calibration, load_against, load_program
from intformer.cli.operators import chosen, print_chosen
from intformer.cli.options import Data, Json, Output, ProgramFile, Weights

if TYPE_CHECKING:
    from intformer.quantize.compare import LayerSNR


def compare(
    file: ProgramFile,
    against: Annotated[
        str, typer.Option("--against", metavar="SOURCE", help="The float model it was made from.")
    ],
    data: Data,
    samples: Annotated[int, typer.Option(min=1, help="Inputs to compare on.")] = 16,
    top: Annotated[int, typer.Option(min=1, help="Layers to print.")] = 20,
    weights: Weights = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Rank layers by signal-to-noise ratio between float and integers, worst first.

    Below the table stands the part of a recipe that would repair the worst layers; put it into a
    .toml file and give that to quantize --recipe.

    \b
    Examples:
      intformer compare vit.onnx --against zoo:vit_cifar10 --data photographs
      intformer compare vit.onnx --against zoo:vit_cifar10 --data photographs --json
    """
    program = load_program(file)
    source = load_against(against, program, weights, output)
    assert source is not None
    from intformer.quantize.compare import compare as measure

    layers = measure(source, program, calibration(source, data, samples, batch_size=8))
    if as_json:
        rows_of = [_row(layer) for layer in layers]
        console.print_json({"layers": rows_of, "chosen_operators": chosen(program.graph)})
        return
    rows = ((layer.name, layer.op, f"{layer.snr_db:.1f}") for layer in layers[:top])
    out = console.output()
    out.print(
        console.table("Float against integers, worst first", ["layer", "operator", "#dB"], rows)
    )
    print_chosen(out, program.graph)
    fixes = list(dict.fromkeys(layer.fix for layer in layers[:top] if layer.fix))
    if fixes:
        out.print("\n[bold]To improve the worst, add to a recipe:[/bold]\n")
        out.print("\n".join(fixes), markup=False)


def _row(layer: LayerSNR) -> dict[str, Any]:
    """JSON knows no infinity: None stands for a layer without any error."""
    ratio = round(layer.snr_db, 3) if math.isfinite(layer.snr_db) else None
    return {"layer": layer.name, "op": layer.op, "snr_db": ratio, "fix": layer.fix}
