"""``intformer eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intformer.cli import console
from intformer.cli.loading import load_against, load_program
from intformer.cli.options import (
    Against,
    BatchSize,
    Data,
    Json,
    Limit,
    Output,
    Pair,
    Threads,
    TokenizerFile,
    Weights,
    given,
)
from intformer.errors import InputError

if TYPE_CHECKING:
    from intformer.frontend.sources import Source
    from intformer.program import Program


def evaluate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An integer program (.onnx).")],
    data: Data,
    against: Against = None,
    limit: Limit = None,
    batch_size: BatchSize = 32,
    threads: Threads = None,
    weights: Weights = None,
    output: Output = None,
    tokenizer: TokenizerFile = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Files of a folder of translations to use.")
    ] = "test_2016_flickr",
    pair: Pair = None,
    beam: Annotated[int, typer.Option(min=1, help="Hypotheses kept; 1 is greedy.")] = 1,
    as_json: Json = False,
) -> None:
    """Measure a program on real data, and against its float model.

    \b
    Classifiers       top1, and with --against float_top1 and agreement, in percent.
    Text encoders     spearman on sentence pairs, and with --against float_spearman.
    Translation       bleu, chrf (sacreBLEU, with signature), and with --against those of the float
                      model, same_sentences in percent and the p_value of a paired bootstrap.
    Language models   perplexity by integer log-likelihood, and with --against float_perplexity
                      and increase in percent.
    Image encoders    cosine of their tokens (needs --against); if the float model is an .onnx
                      file that goes on after the tokens, map_correlation of what it makes of both.

    \b
    Examples:
      intformer eval vit.onnx --data cifar10/test.parquet --against zoo:vit_cifar10
      intformer eval minilm.onnx --data stsb_dev.csv --against hf:./minilm --json
      intformer eval focus_int.onnx --data photos.parquet --against focus.onnx --limit 100
      intformer eval en-de.onnx --data multi30k --against zoo:multi30k_en_de_softmax --beam 4
      intformer eval lm.onnx --data valid.txt --against zoo:debian_lm_softmax
    """
    program = load_program(file, threads)
    _refuse(given(context), program)
    source = load_against(against, program, weights, output)
    with console.progress("evaluating") as progress:
        if _is_sequence(program):
            from intformer.cli.evaluate_sequences import Choices, measure_sequences

            choices = Choices(data, limit, batch_size, tokenizer, split, pair, beam, threads)
            measured = measure_sequences(program, source, choices, progress)
        else:
            measured = _measure(program, source, data, limit, batch_size, tokenizer, progress)
    if source is None and measured.get("top1", 0.0) is None:
        console.notice(
            f"{data} has no labels; --against SOURCE measures agreement with its float model"
        )
    if as_json:
        console.print_json(measured)
        return
    lines = {key.replace("_", " "): _text(value) for key, value in measured.items()}
    console.output().print(console.facts(str(file), lines))


OPTIONS = {
    "translation": {"--tokenizer", "--split", "--pair", "--beam"},
    "language": {"--tokenizer"},
    "text": {"--tokenizer"},
    "image": set[str](),
}
"""Options that mean something for some kinds of programs only."""


def _refuse(names: set[str], program: Program) -> None:
    """Refuse options that this kind of program has no use for.

    Raises:
        InputError: one is given.
    """
    from intformer.evaluate.sequences import sequence_kind
    from intformer.evaluate.tokens import takes_tokens

    kind = sequence_kind(program.graph) or ("text" if takes_tokens(program.graph) else "image")
    for name in sorted((names & OPTIONS["translation"]) - OPTIONS[kind]):
        fitting = [known for known, options in OPTIONS.items() if name in options]
        raise InputError(f"{name} is for {', '.join(fitting)} programs; this is one for {kind}")


def _is_sequence(program: Program) -> bool:
    from intformer.evaluate.sequences import sequence_kind

    return sequence_kind(program.graph) is not None


def _measure(
    program: Program,
    source: Source | None,
    data: str,
    limit: int | None,
    batch_size: int,
    tokenizer: Path | None,
    progress: console.Advance,
) -> dict[str, Any]:
    from intformer.evaluate.outputs import is_classifier
    from intformer.evaluate.tokens import takes_tokens

    if takes_tokens(program.graph):
        return _sentences(program, source, data, limit, batch_size, tokenizer, progress)
    from intformer.evaluate.accuracy import accuracy
    from intformer.evaluate.datasets import open_images

    images = open_images(data)
    if is_classifier(program.graph):
        return accuracy(
            program, images, source=source, batch_size=batch_size, limit=limit, progress=progress
        ).to_json()
    if source is None:
        raise InputError("this program is an encoder without classes: give its float --against")
    from intformer.evaluate.features import features

    return features(
        program,
        source,
        images,
        decoder=_decoder(source),
        batch_size=batch_size,
        limit=limit,
        progress=progress,
    ).to_json()


def _sentences(
    program: Program,
    source: Source | None,
    data: str,
    limit: int | None,
    batch_size: int,
    tokenizer: Path | None,
    progress: console.Advance,
) -> dict[str, Any]:
    from intformer.evaluate.pairs import open_pairs
    from intformer.evaluate.sts import similarity
    from intformer.evaluate.tokens import Tokenization

    tokens = Tokenization.of_program(program.graph, tokenizer)
    pairs = open_pairs(data).limited(limit)
    return similarity(
        program, pairs, tokens, source=source, batch_size=batch_size, progress=progress
    ).to_json()


def _decoder(source: Source) -> Any:
    """What follows the tokens in an .onnx file, if anything does."""
    from intformer.evaluate.features import cut_decoder, has_decoder

    tokens = next(iter(source.graph.outputs))
    if source.kind != "onnx" or not has_decoder(Path(source.name), tokens):
        return None
    return cut_decoder(Path(source.name), tokens)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
