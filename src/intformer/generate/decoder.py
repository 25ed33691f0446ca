"""What a search needs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from intformer.generate.fixed_point import LogitScale

Integers = NDArray[Any]


class Scorer(Protocol):
    """Ranks tokens by logits that are no integers, in the units of a program's scores.

    Only the float model that a program is measured against has one; programs have a ``LogitScale``.
    """

    def rank(self, logits: Integers, closed: Integers, keep: int) -> tuple[Integers, Integers]:
        """See ``ranking.rank``."""


class Decoder(Protocol):
    """A model in the middle of decoding: one row per hypothesis, each with a cache of its own."""

    def step(self, tokens: Integers) -> Integers:
        """Append ``tokens`` int64 [N], one to each row; int16 logits [N, V] of what follows.

        The logits are valid until the next step.
        """

    def select(self, rows: Integers) -> None:
        """Row i becomes what row ``rows[i]`` is now; rows may repeat or be left out."""


class DecodingModel(Protocol):
    """A model that a search can start from.

    Attributes:
        longest: tokens of prompt and result at most.
        longest_source: tokens of a source at most; 0 without sources.
    """

    longest: int
    longest_source: int

    @property
    def scale(self) -> LogitScale | Scorer:
        """What its logits are worth."""

    def start(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] = (), /
    ) -> tuple[Decoder, Integers]:
        """A decoder with one row per prompt, and the logits [N, V] after the prompts."""


@dataclass(frozen=True)
class Hypothesis:
    """A result.

    Attributes:
        tokens: what was generated, without the end token.
        score: sum of the tokens' log2 probabilities, the end included, in 2^-16 octaves.
        ranked: the score after the length penalty.
        ended: the model ended it; otherwise the maximum length did.
    """

    tokens: tuple[int, ...]
    score: int
    ranked: int
    ended: bool
