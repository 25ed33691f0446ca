"""Beam search with integer scores: the same tokens on every machine and in every batch."""

from __future__ import annotations

import numpy as np

from intformer.generate.decoder import Decoder, Hypothesis, Integers
from intformer.generate.fixed_point import LogitScale, log_probabilities
from intformer.generate.options import FORBIDDEN, PENALTY_BITS, Options, length_weights


def beam_search(
    decoder: Decoder, logits: Integers, scale: LogitScale, options: Options
) -> list[list[Hypothesis]]:
    """The best hypotheses of each sentence.

    Args:
        decoder: one row per sentence, its prompt consumed.
        logits: int16 [N, V] after the prompts.
        scale: what a logit is worth.
        options: see ``Options``.

    Returns:
        For each sentence ``n_best`` hypotheses or fewer, the best first. Ties go to the hypothesis
        that ranked higher a step before, then to the smaller token.
    """
    closed = options.closed(logits.shape[1])
    ranks = length_weights(options.length_penalty, options.max_length + 1)
    sentences = [Beam(options, ranks) for _ in range(len(logits))]
    active = list(sentences)
    while True:
        scores = log_probabilities(logits, scale)
        scores[:, closed] = FORBIDDEN
        parents = _advance(active, scores)
        active = [sentence for sentence in active if not sentence.done]
        if not active:
            return [sentence.results() for sentence in sentences]
        decoder.select(parents)
        tokens = [tokens[-1] for sentence in active for tokens in sentence.tokens]
        logits = decoder.step(np.array(tokens, np.int64))


def _advance(active: list[Beam], scores: Integers) -> Integers:
    """Take a step in every sentence; the rows that the remaining ones go on from."""
    parents, first = [], 0
    for sentence in active:
        count = len(sentence.tokens)
        chosen = sentence.advance(scores[first : first + count])
        parents += [first + row for row in chosen]
        first += count
    return np.array(parents, np.int64)


class Beam:
    """The hypotheses of one sentence."""

    def __init__(self, options: Options, ranks: list[int]) -> None:
        self._options, self._ranks = options, ranks
        self._finished: list[Hypothesis] = []
        self.tokens: list[tuple[int, ...]] = [()]
        self.scores = np.zeros(1, np.int64)
        self.done = False

    def advance(self, scores: Integers) -> list[int]:
        """Extend each live hypothesis by one token; the rows of those that live on.

        Args:
            scores: int64 [live, V] of each token after each hypothesis; changed.
        """
        options = self._options
        length = len(self.tokens[0])
        if length < options.min_length:
            scores[:, options.end] = FORBIDDEN
        total = self.scores[:, None] + scores
        candidates = best(total, 2 * options.beam)
        if length == options.max_length:
            candidates = self._last(total)
        rows = self._sort(candidates, total)
        self.done = not rows or self._is_done()
        return [] if self.done else rows

    def _sort(self, candidates: Integers, total: Integers) -> list[int]:
        """Split candidates, best first, into finished and live ones."""
        options = self._options
        tokens: list[tuple[int, ...]] = []
        scores: list[int] = []
        rows: list[int] = []
        for place, index in enumerate(candidates):
            row, token = divmod(int(index), total.shape[1])
            score = int(total[row, token])
            if token == options.end:
                if place < options.beam:
                    self._finish(self.tokens[row], score, ended=True)
            elif len(rows) < options.beam:
                rows.append(row)
                tokens.append((*self.tokens[row], token))
                scores.append(score)
        self.tokens, self.scores = tokens, np.array(scores, np.int64)
        return rows

    def _last(self, total: Integers) -> Integers:
        """At the maximum length hypotheses end: by themselves if that is likely, or cut off."""
        end = self._options.end
        for tokens, score, row in zip(self.tokens, self.scores, total, strict=True):
            ended = int(row.argmax()) == end
            self._finish(tokens, int(row[end]) if ended else int(score), ended=ended)
        return np.zeros(0, np.int64)

    def _finish(self, tokens: tuple[int, ...], score: int, *, ended: bool) -> None:
        ranked = self._rank(score, len(tokens) + ended)
        self._finished.append(Hypothesis(tokens, score, ranked, ended))

    def _rank(self, score: int, length: int) -> int:
        return score * self._ranks[length] >> PENALTY_BITS

    def _is_done(self) -> bool:
        """Whether enough is finished, and (without early stop) nothing live can still win.

        Scores only fall, and a longer hypothesis is divided by more.
        """
        options = self._options
        if len(self._finished) < options.beam:
            return False
        if options.early_stop:
            return True
        worst = sorted(h.ranked for h in self._finished)[-options.n_best]
        return self._rank(int(self.scores.max()), options.max_length + 1) <= worst

    def results(self) -> list[Hypothesis]:
        """The finished hypotheses, best first; of equals the one that finished first."""
        return sorted(self._finished, key=lambda h: -h.ranked)[: self._options.n_best]


def best(total: Integers, count: int) -> Integers:
    """Flat indices of the ``count`` largest possible scores, descending; ties by index."""
    flat = total.reshape(-1)
    if flat.size > count:
        least = np.partition(flat, flat.size - count)[flat.size - count]
        above = np.flatnonzero(flat > least)
        equal = np.flatnonzero(flat == least)[: count - above.size]
        chosen = np.sort(np.concatenate([above, equal]))
    else:
        chosen = np.arange(flat.size)
    chosen = chosen[flat[chosen] > FORBIDDEN // 2]
    order: Integers = np.argsort(-flat[chosen], kind="stable")
    return np.asarray(chosen[order])
