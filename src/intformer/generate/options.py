"""What a user may choose about decoding, and the length penalty as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from intformer.errors import InputError
from intformer.generate.decoder import Integers

PENALTY_BITS = 30
"""Fraction bits of a length's weight."""

FINEST = 1000
"""Penalties, temperatures and shares of probability have three decimals: their roots stay small."""


@dataclass(frozen=True)
class Options:
    """Choices for one search.

    Attributes:
        end: token that ends a hypothesis.
        beam: hypotheses kept per sentence; 1 is greedy.
        n_best: results per sentence, at most ``beam``.
        max_length: tokens generated at most, the end not counted.
        min_length: the end may not come before this many.
        length_penalty: results are ranked by score / length^penalty; 0 ranks by score.
        early_stop: a sentence is done with ``beam`` results; otherwise when none can get better.
        forbidden: tokens that never come, for example padding.
        shortlist: the only tokens that may come, besides ``end``; None for all.
    """

    end: int
    beam: int = 1
    n_best: int = 1
    max_length: int = 256
    min_length: int = 0
    length_penalty: Fraction = Fraction(1)
    early_stop: bool = True
    forbidden: Sequence[int] = ()
    shortlist: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.beam < 1 or not 1 <= self.n_best <= self.beam:
            raise InputError(
                f"beam {self.beam}, n_best {self.n_best}: need 1 <= n_best <= beam hypotheses"
            )
        if not 0 <= self.min_length <= self.max_length or self.max_length < 1:
            raise InputError(
                f"min_length {self.min_length}, max_length {self.max_length}: "
                "need 0 <= min_length <= max_length and at least one token"
            )
        exact("length_penalty", self.length_penalty, Fraction(0), Fraction(4))
        if self.end in self.forbidden:
            raise InputError(f"the end token {self.end} may not be forbidden; use min_length")

    def closed(self, vocabulary: int) -> Integers:
        """uint8 [vocabulary]: 1 for tokens that may never come.

        Raises:
            InputError: a token is not in the vocabulary.
        """
        named = [self.end, *self.forbidden, *(self.shortlist or ())]
        for token in named:
            if not 0 <= token < vocabulary:
                raise InputError(f"token {token} is not one of the {vocabulary} of the model")
        closed = np.zeros(vocabulary, np.uint8)
        if self.shortlist is not None:
            closed[:] = 1
            closed[[self.end, *self.shortlist]] = 0
        closed[list(self.forbidden)] = 1
        return closed


def exact(name: str, value: Fraction, low: Fraction, high: Fraction) -> Fraction:
    """``value``, if it lies within the limits and has three decimals at most.

    Raises:
        InputError: it does not.
    """
    if not low <= value <= high or FINEST % Fraction(value).denominator:
        raise InputError(
            f"{name} {float(value)} must be between {float(low)} and {float(high)}, "
            "with three decimals at most"
        )
    return Fraction(value)


def length_weights(penalty: Fraction, longest: int) -> list[int]:
    """floor(2^30 / length^penalty) for lengths 0..``longest``; 2^30 for 0 and 1."""
    p, q = penalty.numerator, penalty.denominator
    power = 1 << (PENALTY_BITS * q)
    return [1 << PENALTY_BITS, *(integer_root(power // n**p, q) for n in range(1, longest + 1))]


def integer_root(value: int, degree: int) -> int:
    """floor(value^(1/degree)) for value >= 0, by Newton's iteration from above."""
    if value < 2 or degree == 1:
        return value
    root = 1 << -(-value.bit_length() // degree)
    while True:
        smaller = ((degree - 1) * root + value // root ** (degree - 1)) // degree
        if smaller >= root:
            return root
        root = smaller
