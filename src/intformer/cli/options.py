"""The arguments and options that several verbs share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def given(context: typer.Context) -> set[str]:
    """The options that stand on the command line, as ``--batch-size``; others have defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    stated = (name for name, s in sources.items() if s is not None and s.name == "COMMANDLINE")
    return {f"--{name.replace('_', '-')}" for name in stated}


ProgramFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="An integer program (.onnx, made by quantize).")
]

Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Images: a folder (one sub-folder per class, or flat), a Parquet file with columns "
        "'image' and 'label', or the word 'photographs' (pictures inside scikit-image). Text "
        "encoders: a CSV file of sentence,sentence,score or a text file. Translation: a .tsv file "
        "of pairs, or a folder with train.en, train.de, ... (also .gz). Language models: a text "
        "file. What is not there is looked for in the folder INTFORMER_DATA.",
    ),
]

Against = Annotated[
    str | None,
    typer.Option("--against", metavar="SOURCE", help="The float model to measure against."),
]

Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE", help="Checkpoint for timm:NAME (.safetensors or .pth)."
    ),
]

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="VALUE",
        help="Value of a float .onnx file at which to cut it (its last one otherwise).",
    ),
]

Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        help="Means that the model's images are normalised with, for pixels in 0..1, in place of "
        "what the model says (a float .onnx file does not; ImageNet's are taken).",
    ),
]

Std = Annotated[
    str | None,
    typer.Option("--std", metavar="R,G,B", help="The standard deviations that belong to --mean."),
]

Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads; the result is the same for any number."),
]

BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Inputs at a time.")]

Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Use this many, spread evenly over the data."),
]

TokenizerFile = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        metavar="FILE",
        help="tokenizer.json if the program has none; for translate also a folder with source.spm.",
    ),
]

Pair = Annotated[
    str | None,
    typer.Option(metavar="FROM-TO", help="Languages (file names), if the model does not say."),
]

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document and nothing else to standard output."),
]
