"""What a search needs of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Integers = NDArray[Any]


class Decoder(Protocol):
    """A model in the middle of decoding: one row per hypothesis, each with a cache of its own."""

    def step(self, tokens: Integers) -> Integers:
        """Append ``tokens`` int64 [N], one to each row; int16 logits [N, V] of what follows."""

    def select(self, rows: Integers) -> None:
        """Row i becomes what row ``rows[i]`` is now; rows may repeat or be left out."""


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
