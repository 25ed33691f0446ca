"""Tokens with a meaning of their own, as a program keeps them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from intformer.errors import InputError
from intformer.ir.graph import Graph

METADATA_KEY = "generation"
"""Under this key a program keeps its ``SpecialTokens``."""


@dataclass(frozen=True)
class SpecialTokens:
    """Tokens that text does not contain.

    Attributes:
        start: what every target begins with.
        end: what ends a target.
        source_end: what is appended to every source.
        forbidden: what a target never contains, for example padding.
    """

    start: tuple[int, ...]
    end: int
    source_end: tuple[int, ...] = ()
    forbidden: tuple[int, ...] = ()

    def to_metadata(self) -> str:
        """JSON for a program's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def of_program(cls, graph: Graph) -> SpecialTokens:
        """From a program's metadata.

        Raises:
            InputError: there are none, or they make no sense.
        """
        text = graph.metadata.get(METADATA_KEY)
        if text is None:
            raise InputError(
                "this program does not say which tokens start and end a text: it is no translation "
                "or language model"
            )
        try:
            found = json.loads(text)
            lists = {key: tuple(map(_token, found.pop(key))) for key in _LISTS if key in found}
            return cls(end=_token(found.pop("end")), **lists, **found)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"the program's special tokens make no sense: {text[:80]}") from None


_LISTS = ("start", "source_end", "forbidden")


def _token(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value
