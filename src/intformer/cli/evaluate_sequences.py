"""``intformer eval`` of translation and language models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intformer.evaluate.sequences import sequence_kind, task_of
from intformer.generate.vocabulary import Vocabulary

if TYPE_CHECKING:
    from intformer.cli import console
    from intformer.frontend.sources import Source
    from intformer.program import Program


@dataclass(frozen=True)
class Choices:
    """What the command line says; see ``intformer eval --help``."""

    data: str
    limit: int | None
    batch_size: int
    tokenizer: Path | None
    split: str
    pair: str | None
    beam: int
    threads: int | None


def measure_sequences(
    program: Program, source: Source | None, choices: Choices, progress: console.Advance
) -> dict[str, Any]:
    """Scores as JSON; for people, numbers by name.

    Raises:
        InputError: the program carries no tokenizer, or the data do not fit it.
    """
    vocabulary = Vocabulary.of_program(program.graph, choices.tokenizer)
    kind = sequence_kind(program.graph)
    measure = _translations if kind == "translation" else _likelihoods
    return measure(program, source, vocabulary, choices, progress)


def _translations(
    program: Program,
    source: Source | None,
    vocabulary: Vocabulary,
    choices: Choices,
    progress: console.Advance,
) -> dict[str, Any]:
    from intformer.evaluate.parallel import open_parallel
    from intformer.evaluate.translation import plain_options, translation_score
    from intformer.generate.model import SequenceModel

    pair = choices.pair or task_of(program.graph).get("pair", "")
    text = open_parallel(choices.data, pair, choices.split).limited(choices.limit)
    floats = None
    if source is not None:
        from intformer.evaluate.float_sequences import FloatTranslator

        floats = FloatTranslator(source.module)
    return translation_score(
        SequenceModel(program.graph, choices.threads),
        vocabulary,
        text,
        plain_options(vocabulary.special, choices.beam),
        floats=floats,
        batch_size=choices.batch_size,
        progress=progress,
    ).to_json()


def _likelihoods(
    program: Program,
    source: Source | None,
    vocabulary: Vocabulary,
    choices: Choices,
    progress: console.Advance,
) -> dict[str, Any]:
    from intformer.evaluate.datasets import spread
    from intformer.evaluate.pairs import open_texts
    from intformer.evaluate.perplexity import perplexity
    from intformer.evaluate.sequences import blocks, token_stream
    from intformer.evaluate.tokens import sequence_limit

    longest = sequence_limit(program.graph) or 128
    length = min(int(task_of(program.graph).get("length", longest)), longest)
    rows = blocks(token_stream(vocabulary, open_texts(choices.data)), length)
    rows = rows[spread(len(rows), choices.limit)]
    return perplexity(
        program, rows, source=source, batch_size=choices.batch_size, progress=progress
    ).to_json()
