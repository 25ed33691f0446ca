"""``intformer quantize``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intformer.cli import console
from intformer.cli.loading import calibration, describe, load_source, origin_of, with_pair
from intformer.cli.operators import stand_ins
from intformer.cli.options import Data, Json, Mean, Output, Pair, Std, Weights

if TYPE_CHECKING:
    from intformer.program import Program


def quantize(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="zoo:NAME, timm:NAME, hf:FOLDER, or a float .onnx file.",
        ),
    ],
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT.onnx", help="Where to write the program.")
    ],
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="A recipe by name, or a .toml or .json file.")
    ] = "intformer",
    weights: Weights = None,
    samples: Annotated[int, typer.Option(min=1, help="Calibration inputs, 32 to 512.")] = 256,
    output: Output = None,
    mean: Mean = None,
    std: Std = None,
    pair: Pair = None,
    flat: Annotated[
        bool,
        typer.Option(
            "--flat",
            help="Write the flat form, which other engines read and "
            "intformer does not (export makes it from the structured one).",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an integer program from a trained float model, without retraining.

    Calibration data needs no labels. The program is proved in range before it is written.

    \b
    Examples:
      intformer quantize zoo:vit_cifar10 --data photographs -o vit.onnx
      intformer quantize timm:deit_small_patch16_224 --weights deit.safetensors \\
          --data imagenet/val -o deit.onnx
      intformer quantize hf:./minilm --data stsb_train.csv -o minilm.onnx
      intformer quantize hf:./opus-mt-en-de --data pairs.tsv -o en-de.onnx
      intformer quantize focus.onnx --output /backbone/layernorm/Add_1_output_0 \\
          --data photos.parquet --samples 128 -o focus_int.onnx
    """
    start = time.perf_counter()
    origin = origin_of(source, output, mean, std)
    loaded = with_pair(load_source(origin, weights), pair)
    from intformer.quantize.api import quantize as convert
    from intformer.quantize.recipe import load_recipe

    chosen = load_recipe(recipe)
    with console.writing(out) as temporary:
        with console.stages() as progress:
            batches = list(calibration(loaded, data, samples))
            program = convert(loaded, batches, recipe=chosen, progress=progress)
        describe(program, loaded, origin)
        program.save(temporary, flat=flat)
        size = temporary.stat().st_size
    used = sum(len(next(iter(batch.values()))) for batch in batches)
    numbers = {"samples": used, "bytes": size, "seconds": round(time.perf_counter() - start, 2)}
    seen = f"{used} inputs of {data}{', all there are' if used < samples else ''}"
    _report(program, source, out, numbers, seen, as_json=as_json)


def _report(
    program: Program,
    source: str,
    out: Path,
    numbers: dict[str, float],
    calibrated: str,
    *,
    as_json: bool,
) -> None:
    from intformer.evaluate.summary import float_bytes, summarize

    summary = summarize(program.graph)
    size = numbers["bytes"]
    result = {
        "program": str(out),
        "source": source,
        **numbers,
        "percent_of_float32": round(100 * size / float_bytes(summary), 2),
        "accumulator_bits": summary.accumulator_bits,
        "stand_ins": stand_ins(program.graph),
    }
    if as_json:
        console.print_json(result)
        return
    lines = {
        "program": out,
        "made from": source,
        "calibrated on": calibrated,
        "size": f"{console.megabytes(size)} ({result['percent_of_float32']} % of float32)",
        "proved": f"every value in range; the widest needs {summary.accumulator_bits} bits",
        "time": f"{numbers['seconds']:.1f} s",
    }
    console.output().print(console.facts("Integer program", lines))
    for line in stand_ins(program.graph):
        console.output().print(line, markup=False, highlight=False)
