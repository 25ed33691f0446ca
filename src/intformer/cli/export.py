"""``intformer export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.options import Json, ProgramFile


def export(
    file: ProgramFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.onnx", help="Where to write.")],
    flat: Annotated[
        bool,
        typer.Option(
            "--flat/--structured",
            help="Plain operators for engines without functions, or one function per operator.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Write a program in another form; the integers it computes stay the same.

    \b
    Examples:
      intformer export vit.onnx --flat -o vit_flat.onnx
      intformer export vit_flat.onnx --structured -o vit.onnx
    """
    program = load_program(file)
    with console.writing(out) as temporary:
        program.save(temporary, flat=flat)
    size = out.stat().st_size
    form = "flat" if flat else "structured"
    if as_json:
        console.print_json({"program": str(out), "form": form, "bytes": size})
    else:
        console.output().print(f"{out}: {form} form, {console.megabytes(size)}", markup=False)
