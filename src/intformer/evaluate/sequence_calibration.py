"""From a sequence model's source to calibration batches and to what its program must keep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from intformer.errors import InputError
from intformer.evaluate.datasets import spread
from intformer.evaluate.pairs import open_texts
from intformer.evaluate.parallel import open_parallel
from intformer.evaluate.sequences import (
    TASK_KEY,
    Feed,
    blocks,
    pair_feeds,
    sequence_kind,
    token_stream,
)
from intformer.evaluate.tokens import sequence_limit
from intformer.generate.vocabulary import Vocabulary

if TYPE_CHECKING:
    from intformer.frontend.preprocess import SequencePreprocess
    from intformer.frontend.sources import Source

SPLIT = "train"
"""Files of a folder that calibration reads."""


def sequence_batches(
    source: Source, data: str, samples: int, batch_size: int = 8
) -> Iterator[Feed]:
    """Raw inputs for ``quantize``: sentence pairs with the target as in training, or text blocks.

    Args:
        source: a translation or language model.
        data: see ``open_parallel``; for a language model a text file, one paragraph a line.
        samples: sentence pairs, or blocks of text, spread evenly over the data.
        batch_size: rows of a batch at most.

    Raises:
        InputError: the model has no tokenizer, or the data cannot be used.
    """
    preprocess = preprocess_of(source)
    vocabulary = Vocabulary.of_file(preprocess.tokenizer_file, preprocess.special)
    longest = min(preprocess.max_length, sequence_limit(source.graph) or preprocess.max_length)
    if sequence_kind(source.graph) == "translation":
        pairs = open_parallel(data, preprocess.pair, SPLIT).limited(samples)
        yield from pair_feeds(vocabulary, pairs.source, pairs.target, longest, batch_size)
        return
    (name,) = source.graph.inputs
    for rows in _text_rows(vocabulary, data, longest, samples, batch_size):
        yield {name: rows}


def _text_rows(
    vocabulary: Vocabulary, data: str, longest: int, samples: int, batch_size: int
) -> Iterator[Any]:
    """Blocks of ``longest`` tokens from lines all over the text."""
    lines = open_texts(data)
    enough = max(samples * longest // 8, 1)  # a line has more than eight tokens on average
    stream = token_stream(vocabulary, (lines[i] for i in spread(len(lines), enough)))
    rows = blocks(stream, min(longest, len(stream) - 1))[:, :-1]
    chosen = rows[spread(len(rows), samples)]
    for first in range(0, len(chosen), batch_size):
        yield chosen[first : first + batch_size]


def describe_sequences(source: Source) -> dict[str, str]:
    """Metadata of a program: tokenizer, special tokens and task."""
    preprocess = preprocess_of(source)
    vocabulary = Vocabulary.of_file(preprocess.tokenizer_file, preprocess.special)
    task: dict[str, Any] = {"length": preprocess.max_length}
    if preprocess.pair:
        task["pair"] = preprocess.pair
    return {**vocabulary.to_metadata(), TASK_KEY: json.dumps(task)}


def preprocess_of(source: Source) -> SequencePreprocess:
    """What the source says about its tokens.

    Raises:
        InputError: nothing.
    """
    from intformer.frontend.preprocess import SequencePreprocess

    if not isinstance(source.preprocess, SequencePreprocess):
        raise InputError(
            f"{source.name}: comes without a tokenizer.json, and without source.spm and its "
            "companions; put them into the folder, or quantize it in Python, from token ids"
        )
    return source.preprocess
