"""Beam search with integer scores: the same tokens on every machine and in every batch."""

from __future__ import annotations

import numpy as np

from intformer.generate.decoder import Decoder, Hypothesis, Integers, Scorer
from intformer.generate.fixed_point import LogitScale
from intformer.generate.options import PENALTY_BITS, Options, length_weights
from intformer.generate.ranking import rank


def beam_search(
    decoder: Decoder, logits: Integers, scale: LogitScale | Scorer, options: Options
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

    Raises:
        InputError: options name tokens that are not in the vocabulary.
    """
    closed = options.closed(logits.shape[1])
    ranks = length_weights(options.length_penalty, options.max_length + 1)
    sentences = [Beam(options, ranks) for _ in range(len(logits))]
    active = list(sentences)
    for length in range(options.max_length + 1):
        closed[options.end] = length < options.min_length
        parents = _advance(active, *rank(logits, scale, closed, 2 * options.beam))
        active = [sentence for sentence in active if not sentence.done]
        if not active:
            break
        decoder.select(parents)
        tokens = [tokens[-1] for sentence in active for tokens in sentence.tokens]
        logits = decoder.step(np.array(tokens, np.int64))
    return [sentence.results() for sentence in sentences]


def _advance(active: list[Beam], tokens: Integers, scores: Integers) -> Integers:
    """Take a step in every sentence; the rows that the remaining ones go on from."""
    parents, first = [], 0
    for sentence in active:
        rows = slice(first, first + len(sentence.tokens))
        parents += [first + row for row in sentence.advance(tokens[rows], scores[rows])]
        first = rows.stop
    return np.array(parents, np.int64)


class Beam:
    """The hypotheses of one sentence."""

    def __init__(self, options: Options, ranks: list[int]) -> None:
        self._options, self._ranks = options, ranks
        self._finished: list[Hypothesis] = []
        self.tokens: list[tuple[int, ...]] = [()]
        self._scores = [0]
        self.done = False

    def advance(self, tokens: Integers, scores: Integers) -> list[int]:
        """Extend each live hypothesis by one token; the rows of those that live on.

        Args:
            tokens: int64 [live, keep], the most likely tokens after each hypothesis.
            scores: int64 [live, keep], their log-probabilities.
        """
        if len(self.tokens[0]) == self._options.max_length:
            self._end(tokens, scores)
            self.done = True
            return []
        rows = self._sort(self._candidates(tokens, scores))
        self.done = not rows or self._is_done()
        return [] if self.done else rows

    def _candidates(self, tokens: Integers, scores: Integers) -> list[tuple[int, int, int]]:
        """(-score, row, token) of the best extensions, in order."""
        total = scores + np.array(self._scores, np.int64)[:, None]
        rows, places = np.nonzero(tokens >= 0)
        found = zip(
            (-total[rows, places]).tolist(),
            rows.tolist(),
            tokens[rows, places].tolist(),
            strict=True,
        )
        return sorted(found)[: 2 * self._options.beam]

    def _sort(self, candidates: list[tuple[int, int, int]]) -> list[int]:
        """Split candidates, best first, into finished and live ones."""
        live: list[tuple[int, int, int]] = []
        for place, (cost, row, token) in enumerate(candidates):
            if token != self._options.end:
                live.append((cost, row, token))
            elif place < self._options.beam:
                self._finish(self.tokens[row], -cost, ended=True)
        live = live[: self._options.beam]
        self.tokens = [(*self.tokens[row], token) for _, row, token in live]
        self._scores = [-cost for cost, _, _ in live]
        return [row for _, row, _ in live]

    def _end(self, tokens: Integers, scores: Integers) -> None:
        """At the maximum length hypotheses end: by themselves if that is likely, or cut off."""
        for row, score in enumerate(self._scores):
            ended = int(tokens[row, 0]) == self._options.end
            gained = int(scores[row, 0]) if ended else 0
            self._finish(self.tokens[row], score + gained, ended=ended)

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
        return self._rank(max(self._scores), options.max_length + 1) <= worst

    def results(self) -> list[Hypothesis]:
        """The finished hypotheses, best first; of equals the one that finished first."""
        return sorted(self._finished, key=lambda h: -h.ranked)[: self._options.n_best]
