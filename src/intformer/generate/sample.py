"""One token at a time: the most likely, or drawn by an integer generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from intformer.errors import InputError
from intformer.generate.decoder import Decoder, Hypothesis, Integers, Scorer
from intformer.generate.fixed_point import LogitScale, log_probabilities, weights
from intformer.generate.options import Options, exact
from intformer.generate.ranking import rank

OnToken = Callable[[int, int], None]
"""Called with (sentence, token) as soon as a token is chosen."""

MASK = 2**64 - 1


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        scale: of the logits, the temperature included (see ``LogitScale.of``).
        top_k: only the k most likely tokens; 0 for all.
        top_p: only the most likely tokens that together reach this share of probability.
    """

    scale: LogitScale
    top_k: int = 0
    top_p: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise InputError(f"top_k {self.top_k} must be 0 (all tokens) or more")
        exact("top_p", self.top_p, Fraction(1, 1000), Fraction(1))


class Generator:
    """Random numbers of 64 bits, the same on every machine.

    The state advances by a constant and is scrambled (SplitMix64, Steele, Lea and Flood, 2014).
    """

    def __init__(self, seed: int, words: Sequence[int] = ()) -> None:
        """Each sequence of ``words``, for example a source sentence, has numbers of its own."""
        self._state = seed & MASK
        for word in words:
            self._state = self.next() ^ (word & MASK)

    def next(self) -> int:
        """The next number in 0..2^64 - 1."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        mixed = (self._state ^ (self._state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & MASK
        return mixed ^ (mixed >> 31)

    def below(self, bound: int) -> int:
        """A number in 0..bound - 1; its bias is below bound / 2^64."""
        return self.next() * bound >> 64


def generate(
    decoder: Decoder,
    logits: Integers,
    scale: LogitScale | Scorer,
    options: Options,
    *,
    sampling: Sampling | None = None,
    generators: Sequence[Generator] = (),
    on_token: OnToken | None = None,
) -> list[Hypothesis]:
    """One hypothesis per sentence, token by token.

    Args:
        decoder: one row per sentence, its prompt consumed.
        logits: int16 [N, V] after the prompts.
        scale: what a logit is worth, for scores.
        options: ``beam`` and what follows from it are ignored.
        sampling: how to draw; None takes the most likely token (of equals the smallest).
        generators: one per sentence, if tokens are drawn.
        on_token: told of every token but the end.
    """
    closed = options.closed(logits.shape[1])
    sentences = [_Sentence() for _ in logits]
    active = list(range(len(sentences)))
    for length in range(options.max_length + 1):
        closed[options.end] = length < options.min_length
        chosen, gained = _choose(
            logits, scale, closed, sampling, [generators[i] for i in active] if sampling else []
        )
        for i, token, score in zip(active, chosen.tolist(), gained.tolist(), strict=True):
            if sentences[i].append(token, score, options) and on_token is not None:
                on_token(i, token)
        going = [place for place, i in enumerate(active) if not sentences[i].done]
        if not going:
            break
        if len(going) < len(active):
            decoder.select(np.array(going, np.int64))
        active = [active[place] for place in going]
        logits = decoder.step(chosen[going])
    return [sentence.result() for sentence in sentences]


class _Sentence:
    """What one row has generated."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._score = 0
        self._ended = self.done = False

    def append(self, token: int, score: int, options: Options) -> bool:
        """Take a token, unless it is the end or one too many; returns whether it was taken."""
        self._ended = token == options.end
        full = len(self._tokens) == options.max_length
        self.done = self._ended or full
        if self._ended or not full:
            self._score += score
        if not self.done:
            self._tokens.append(token)
        return not self.done

    def result(self) -> Hypothesis:
        return Hypothesis(tuple(self._tokens), self._score, self._score, self._ended)


def _choose(
    logits: Integers,
    scale: LogitScale | Scorer,
    closed: Integers,
    sampling: Sampling | None,
    generators: Sequence[Generator],
) -> tuple[Integers, Integers]:
    """A token per row and its score."""
    if sampling is None:
        tokens, scores = rank(logits, scale, closed, 1)
        return tokens[:, 0], scores[:, 0]
    allowed = np.flatnonzero(closed == 0)
    drawn = [
        draw(row[allowed].astype(np.int64), sampling, generator)
        for row, generator in zip(logits, generators, strict=True)
    ]
    chosen = allowed[drawn]
    assert isinstance(scale, LogitScale)  # there are integers to draw from
    return chosen, log_probabilities(logits, scale)[np.arange(len(chosen)), chosen]


def draw(logits: Integers, sampling: Sampling, generator: Generator) -> int:
    """An index of int64 ``logits`` [V], drawn with its integer weight out of the sum of weights."""
    order = np.argsort(-logits, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    own = weights(sampling.scale.octaves(logits[order[0]] - logits[order]))
    sums = np.cumsum(own)
    share = sampling.top_p
    wanted = -(-int(sums[-1]) * share.numerator // share.denominator)
    kept = int(np.searchsorted(sums, wanted)) + 1
    place = np.searchsorted(sums[:kept], generator.below(int(sums[kept - 1])), side="right")
    return int(order[place])
