"""The most likely tokens of each row with their exact scores, one pass over the logits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from intformer.extension import native
from intformer.generate.decoder import Integers, Scorer
from intformer.generate.fixed_point import LogitScale, normalizer, weights

DISTANCES = 1 << 16
"""Two int16 logits are less than this apart."""


@lru_cache(maxsize=8)
def tables(scale: LogitScale) -> tuple[Integers, Integers]:
    """Weight (int32) and octaves (int64) of a token by its distance to the largest logit."""
    octaves = scale.octaves(np.arange(DISTANCES, dtype=np.int64))
    return weights(octaves).astype(np.int32), octaves


def rank(
    logits: Integers, scale: LogitScale | Scorer, closed: Integers, keep: int
) -> tuple[Integers, Integers]:
    """The ``keep`` most likely open tokens of each row, and their log-probabilities.

    Args:
        logits: int16 [N, V].
        scale: what a logit is worth.
        closed: uint8 [V]; tokens with 1 are not chosen, but their probability counts.
        keep: at least 1.

    Returns:
        tokens: int64 [N, keep], the best first, of equal scores the smaller token; -1 past the end.
        scores: int64 [N, keep], see ``log_probabilities``.
    """
    if not isinstance(scale, LogitScale):
        return scale.rank(logits, closed, keep)
    rows = _native_rows if native is not None else numpy_rows
    tokens, octaves, totals = rows(np.ascontiguousarray(logits), scale, closed, keep)
    return tokens, -octaves - normalizer(totals)[:, None]


def _native_rows(
    logits: Integers, scale: LogitScale, closed: Integers, keep: int
) -> tuple[Integers, Integers, Integers]:
    tokens, octaves = (np.empty((len(logits), keep), np.int64) for _ in range(2))
    totals = np.empty(len(logits), np.int64)
    native.rank_rows(logits, *tables(scale), closed, tokens, octaves, totals)
    return tokens, octaves, totals


def numpy_rows(
    logits: Integers, scale: LogitScale, closed: Integers, keep: int
) -> tuple[Integers, Integers, Integers]:
    """What the native ``rank_rows`` computes: tokens, their octaves, and the sums of weights."""
    by_distance, costs = tables(scale)
    distance = logits.max(axis=1, keepdims=True).astype(np.int64) - logits
    totals = by_distance[distance].sum(axis=1, dtype=np.int64)
    open_tokens = np.flatnonzero(closed == 0)
    octaves = costs[distance[:, open_tokens]]
    order = np.argsort(octaves, axis=1, kind="stable")[:, :keep]
    tokens = np.full((len(logits), keep), -1, np.int64)
    found = np.zeros((len(logits), keep), np.int64)
    tokens[:, : order.shape[1]] = open_tokens[order]
    found[:, : order.shape[1]] = np.take_along_axis(octaves, order, 1)
    return tokens, found, totals


def label_scores(logits: Integers, scale: LogitScale, labels: Integers) -> Integers:
    """Log-probabilities int64 [N] of ``labels`` int64 [N], one of the V tokens for each row.

    Args:
        logits: int16 [N, V].
        scale: what a logit is worth.
        labels: the tokens in question.
    """
    by_distance, costs = tables(scale)
    distance = logits.max(axis=1, keepdims=True).astype(np.int32) - logits
    totals = by_distance[distance].sum(axis=1, dtype=np.int64)
    own = costs[np.take_along_axis(distance, labels[:, None], 1)[:, 0]]
    return np.asarray(-own - normalizer(totals))
