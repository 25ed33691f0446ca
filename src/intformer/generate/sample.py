"""One token at a time: the most likely, or drawn by an integer generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from intformer.errors import InputError
from intformer.generate.decoder import Decoder, Hypothesis, Integers
from intformer.generate.fixed_point import LogitScale, log_probabilities, weights
from intformer.generate.options import Options, exact

OnToken = Callable[[int, int], None]
"""Called with (sentence, token) as soon as a token is chosen."""

LOWEST = -(2**31)
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
    scale: LogitScale,
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
    tokens: list[list[int]] = [[] for _ in logits]
    scores, ended = [0] * len(tokens), [False] * len(tokens)
    active = np.arange(len(tokens))
    for length in range(options.max_length + 1):
        open_logits = _masked(logits, closed, options, length)
        chosen = _choose(
            open_logits, sampling, [generators[i] for i in active.tolist()] if sampling else []
        )
        gained = log_probabilities(logits, scale)[np.arange(len(chosen)), chosen]
        for i, token, score in zip(active.tolist(), chosen.tolist(), gained.tolist(), strict=True):
            ended[i] = token == options.end
            if ended[i] or length < options.max_length:
                scores[i] += score
            if not ended[i] and length < options.max_length:
                tokens[i].append(token)
                if on_token is not None:
                    on_token(i, token)
        going = np.flatnonzero([not ended[i] for i in active])
        if not going.size or length == options.max_length:
            break
        if going.size < active.size:
            decoder.select(going)
        active = active[going]
        logits = decoder.step(chosen[going])
    results = zip(tokens, scores, ended, strict=True)
    return [Hypothesis(tuple(t), score, score, end) for t, score, end in results]


def _masked(logits: Integers, closed: Integers, options: Options, length: int) -> Integers:
    """int64 logits with tokens that may not come far below all others."""
    found = logits.astype(np.int64)
    found[:, closed] = LOWEST
    if length < options.min_length:
        found[:, options.end] = LOWEST
    return found


def _choose(
    logits: Integers, sampling: Sampling | None, generators: Sequence[Generator]
) -> Integers:
    if sampling is None:
        return np.asarray(logits.argmax(axis=1))
    drawn = [draw(row, sampling, g) for row, g in zip(logits, generators, strict=True)]
    return np.array(drawn, np.int64)


def draw(logits: Integers, sampling: Sampling, generator: Generator) -> int:
    """A token of int64 ``logits`` [V], drawn with its integer weight out of the sum of weights."""
    allowed = np.flatnonzero(logits > LOWEST)
    order = allowed[np.argsort(-logits[allowed], kind="stable")]
    if sampling.top_k:
        order = order[: sampling.top_k]
    own = weights(sampling.scale.octaves(logits[order[0]] - logits[order]))
    sums = np.cumsum(own)
    share = sampling.top_p
    wanted = -(-int(sums[-1]) * share.numerator // share.denominator)
    kept = int(np.searchsorted(sums, wanted)) + 1
    place = np.searchsorted(sums[:kept], generator.below(int(sums[kept - 1])), side="right")
    return int(order[place])
