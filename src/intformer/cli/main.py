"""The ``intformer`` command."""

from __future__ import annotations

import typer

from intformer import __version__
from intformer.cli import (
    bench,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    generate,
    inspect,
    quantize,
    run,
    train,
    translate,
    verify,
)
from intformer.cli.group import Commands

app = typer.Typer(
    cls=Commands,
    name="intformer",
    help=(
        "Turn a trained Transformer into a program of integers, prove it, and run it.\n\n"
        "Start with 'intformer demo', or:\n\n"
        "\b\n"
        "  intformer quantize zoo:vit_cifar10 --data photographs -o vit.onnx\n"
        "  intformer verify vit.onnx\n"
        "  intformer run vit.onnx --input cat.jpg\n"
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

app.command()(quantize.quantize)
app.command()(train.train)
app.command()(verify.verify)
app.command()(inspect.inspect)
app.command()(run.run)
app.command("eval")(evaluate.evaluate)
app.command()(compare.compare)
app.command()(export.export)
app.command()(translate.translate)
app.command()(generate.generate)
app.command()(demo.demo)
app.command()(bench.bench)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"intformer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Options before the verb."""


def main() -> None:
    """Entry point of the ``intformer`` command."""
    app(prog_name="intformer")


if __name__ == "__main__":
    main()
