"""Semantic similarity of sentences (STS-B): Spearman correlation with human scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from intformer.errors import InputError
from intformer.evaluate.accuracy import Progress
from intformer.evaluate.outputs import Runnable, dequantize
from intformer.evaluate.pairs import SentencePairs
from intformer.evaluate.tokens import Ids, Tokenization, token_feed

Vectors = NDArray[np.float64]
Encoder = Callable[[Ids, Ids], Vectors]
"""Token ids and mask [N, S] -> hidden states [N, S, C]."""


@dataclass(frozen=True)
class Similarity:
    """Spearman correlations with the human scores, and the mean cosine between both encoders."""

    pairs: int
    spearman: float
    float_spearman: float | None
    embedding_cosine: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def similarity(
    program: Runnable,
    pairs: SentencePairs,
    tokenization: Tokenization,
    *,
    source: Any = None,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Similarity:
    """Embed each sentence as the mean of its unmasked tokens and rank pairs by cosine.

    Raises:
        InputError: the program gives no hidden states [N, S, C].
    """
    texts = [*pairs.first, *pairs.second]
    total = len(texts) * (1 if source is None else 2)

    def advance(done: int) -> None:
        if progress is not None:
            progress(done, total)

    encoder = _integer_encoder(program)
    ours = _embed(encoder, tokenization, texts, batch_size, advance)
    spearman = _spearman(ours, pairs.scores)
    if source is None:
        return Similarity(len(pairs), spearman, None, None)
    encoder = _float_encoder(source)
    theirs = _embed(
        encoder, tokenization, texts, batch_size, lambda done: advance(len(texts) + done)
    )
    cosine = float(np.mean(_cosines(ours, theirs)))
    return Similarity(len(pairs), spearman, _spearman(theirs, pairs.scores), cosine)


def _embed(
    encoder: Encoder,
    tokenization: Tokenization,
    texts: list[str],
    size: int,
    advance: Callable[[int], None],
) -> Vectors:
    """Mean of the unmasked hidden states of each text [texts, C]; similar lengths share a batch."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    vectors: list[Vectors] = [np.empty(0)] * len(texts)
    done = 0
    for rows in _chunks(order, size):
        ids, mask = tokenization.encode([texts[row] for row in rows])
        keep = mask[:, :, None].astype(np.float64)
        means = (encoder(ids, mask) * keep).sum(1) / keep.sum(1)
        for row, vector in zip(rows, means, strict=True):
            vectors[row] = vector
        done += len(rows)
        advance(done)
    return np.stack(vectors)


def _chunks(rows: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _integer_encoder(program: Runnable) -> Encoder:
    name = _hidden(
        {
            public: program.graph.types[value].shape
            for public, value in program.graph.outputs.items()
        }
    )

    def encode(ids: Ids, mask: Ids) -> Vectors:
        outputs = program.run(token_feed(program.graph, ids, mask))
        return dequantize(program.graph, name, outputs[name])

    return encode


def _float_encoder(source: Any) -> Encoder:
    from intformer.evaluate.floats import FloatModel

    model = FloatModel(source)

    def encode(ids: Ids, mask: Ids) -> Vectors:
        outputs = model.tokens(ids, mask)
        name = _hidden({name: array.shape for name, array in outputs.items()})
        return outputs[name].astype(np.float64)

    return encode


def _hidden(shapes: dict[str, tuple[Any, ...]]) -> str:
    for name, shape in shapes.items():
        if len(shape) == 3:
            return name
    raise InputError(f"no output holds one vector per token; outputs: {', '.join(shapes)}")


def _cosines(a: Vectors, b: Vectors) -> Vectors:
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(-1) / np.maximum(norms, 1e-12))


def _spearman(vectors: Vectors, scores: list[float]) -> float:
    half = len(scores)
    return float(spearmanr(_cosines(vectors[:half], vectors[half:]), scores).statistic)
