"""``intformer export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.options import Json, ProgramFile
from intformer.errors import InputError


def export(
    file: ProgramFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.onnx", help="Where to write.")],
    flat: Annotated[
        bool,
        typer.Option("--flat", help="Plain operators only, for engines without functions."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a program in another form; the integers it computes stay the same.

    The flat form is for other engines (OpenVINO, IREE, TVM); intformer itself reads the file that
    quantize writes.

    \b
    Examples:
      intformer export vit.onnx --flat -o vit_flat.onnx
    """
    if not flat:
        raise InputError("choose the form to write: --flat")
    program = load_program(file)
    with console.writing(out) as temporary:
        program.save(temporary, flat=True)
    size = out.stat().st_size
    if as_json:
        console.print_json({"program": str(out), "form": "flat", "bytes": size})
    else:
        console.output().print(f"{out}: flat form, {console.megabytes(size)}", markup=False)
