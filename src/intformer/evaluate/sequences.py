"""Token ids for the forward programs of translation and language models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from intformer.errors import InputError
from intformer.evaluate.tokens import takes_tokens
from intformer.generate.model import padded
from intformer.generate.vocabulary import Vocabulary
from intformer.ir.graph import Graph

TASK_KEY = "task"
"""Under this key a program keeps its languages and the length of its training texts (JSON)."""

Feed = dict[str, NDArray[Any]]


def sequence_kind(graph: Graph) -> Literal["translation", "language"] | None:
    """What a graph of either stage does, if it computes logits of the next token."""
    logits = graph.outputs.get("logits")
    if logits is None or not takes_tokens(graph) or len(graph.types[logits].shape) != 3:
        return None
    if "target" in graph.inputs:
        return "translation"
    return "language" if len(graph.inputs) == 1 else None


def task_of(graph: Graph) -> dict[str, Any]:
    """``{"pair": "en-de", "length": 128}`` as far as the program knows."""
    found = json.loads(graph.metadata.get(TASK_KEY, "{}"))
    return found if isinstance(found, dict) else {}


def pair_feeds(
    vocabulary: Vocabulary, source: Sequence[str], target: Sequence[str], longest: int, size: int
) -> Iterator[Feed]:
    """Inputs of a translation program in batches; every row of a batch has the same lengths.

    So nothing is padded, and calibration sees real positions only. Pairs with a side above
    ``longest`` tokens are left out.
    """
    special = vocabulary.special
    rows = [
        (
            [*vocabulary.encode(s), *special.source_end],
            [*special.start, *vocabulary.encode_target(t)],
        )
        for s, t in zip(source, target, strict=True)
    ]
    fitting = sorted((_lengths(row), row) for row in rows if max(_lengths(row)) <= longest)
    if not fitting:
        raise InputError(f"no sentence pair has at most {longest} tokens on both sides")
    for _, group in groupby(fitting, key=lambda item: item[0]):
        same = (row for _, row in group)
        while batch := list(islice(same, size)):
            yield pair_feed([s for s, _ in batch], [t for _, t in batch])


def _lengths(row: tuple[list[int], list[int]]) -> tuple[int, int]:
    return len(row[0]), len(row[1])


def pair_feed(source: Sequence[list[int]], target: Sequence[list[int]]) -> Feed:
    """Right-padded inputs of a translation program."""
    ids, lengths = padded(source)
    mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.uint8)
    return {"source": ids, "source_mask": mask, "target": padded(target)[0]}


def token_stream(vocabulary: Vocabulary, lines: Iterable[str]) -> NDArray[np.int64]:
    """All tokens of a text, every line between start and end."""
    start, end = vocabulary.special.start, vocabulary.special.end
    ids = [token for line in lines for token in (*start, *vocabulary.encode(line), end)]
    return np.array(ids, np.int64)


def blocks(stream: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Consecutive rows of ``length`` + 1 tokens, int64 [N, length + 1]; neighbours share one token.

    The first ``length`` of a row are a program's input, the last ``length`` what it should predict.
    A rest shorter than a row is left out.

    Raises:
        InputError: the text is shorter than one row.
    """
    count = (len(stream) - 1) // length
    if count < 1:
        raise InputError(f"the text has {len(stream)} tokens; at least {length + 1} are needed")
    starts = np.arange(count)[:, None] * length
    return np.asarray(stream[starts + np.arange(length + 1)])
