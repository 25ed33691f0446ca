"""Options of ``intformer translate`` and ``intformer generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SourceText = Annotated[
    Path, typer.Option("--src", "-i", metavar="FILE", help="One sentence a line; - for stdin.")
]
TargetText = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Instead of stdout.")
]
Beam = Annotated[int, typer.Option(min=1, help="Hypotheses kept; 1 is greedy.")]
NBest = Annotated[int, typer.Option(min=1, help="Results per line, for --json.")]
Penalty = Annotated[
    str, typer.Option(metavar="NUMBER", help="Rank by score / length^NUMBER; three decimals.")
]
MaxLength = Annotated[int, typer.Option(min=1, help="Longest translation in tokens.")]
MinLength = Annotated[int, typer.Option(min=0, help="Shortest translation.")]
Prefix = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="How the translation of each line has to begin."),
]
Patient = Annotated[
    bool,
    typer.Option("--patient", help="Search until no unfinished hypothesis can still win."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Lines computed together.")]
LinesAsJson = Annotated[
    bool,
    typer.Option("--json", help="A JSON object a line: texts, scores, notes."),
]

Prompt = Annotated[
    str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="Else standard input.")
]
MostTokens = Annotated[int, typer.Option(min=1, help="Tokens at most.")]
Temperature = Annotated[
    str, typer.Option(metavar="NUMBER", help="0 takes the most likely token; else draw.")
]
TopK = Annotated[int, typer.Option(min=0, help="Draw from the k most likely; 0: all.")]
TopP = Annotated[
    str, typer.Option(metavar="SHARE", help="Draw from the most likely that make up this.")
]
Seed = Annotated[int, typer.Option(help="Of the integer generator.")]
TextAsJson = Annotated[
    bool, typer.Option("--json", help="Text, tokens and score at the end, as JSON.")
]
