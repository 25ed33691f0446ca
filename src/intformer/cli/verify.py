"""``intformer verify``."""

from __future__ import annotations

import time

import typer

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.options import Json, ProgramFile
from intformer.errors import VerifyError


def verify(file: ProgramFile, as_json: Json = False) -> None:
    """Prove that a program uses integers only and that nothing in it can overflow.

    Types, shapes and the exact range of every value are derived from the weights and tables in the
    file, for every input that it accepts. Then the run that was recorded when the file was saved is
    repeated on this machine and must give the same bytes. Exit status 0: proved.
    1: rejected, with the reason.

    \b
    Examples:
      intformer verify vit.onnx
      intformer verify vit.onnx --json
    """
    from intformer.artifact import check_golden

    start = time.perf_counter()
    try:
        program = load_program(file)
        proof = program.verify()
        check_golden(program.graph, lambda graph, inputs: program.run(inputs))
    except VerifyError as error:
        if as_json:
            console.print_json({"file": str(file), "proved": False, "reason": str(error)})
            raise typer.Exit(1) from None
        raise
    seconds = time.perf_counter() - start
    if as_json:
        console.print_json(
            {
                "file": str(file),
                "proved": True,
                "golden_run": "same bytes",
                "values": len(proof.ranges),
                "accumulator_bits": proof.accumulator_bits,
                "seconds": round(seconds, 3),
            }
        )
        return
    console.output().print(
        f"{file}: proved. {len(proof.ranges)} values, integers only, none can leave its range; "
        f"the widest needs {proof.accumulator_bits} bits. The recorded run gives the same bytes "
        f"here ({seconds:.1f} s)",
        markup=False,
    )
