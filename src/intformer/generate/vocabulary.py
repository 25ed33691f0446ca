"""Between text and tokens: a tokenizer and the tokens with a meaning of their own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from intformer.errors import InputError
from intformer.evaluate.tokens import METADATA_KEY as TOKENIZER_KEY
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
            raise InputError("this program does not say which tokens start and end a text")
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


class Vocabulary:
    """A tokenizer and the special tokens of a program."""

    def __init__(self, tokenizer: Tokenizer, special: SpecialTokens) -> None:
        self._tokenizer, self.special = tokenizer, special
        tokenizer.no_truncation()
        tokenizer.no_padding()

    @classmethod
    def of_program(cls, graph: Graph, file: Path | None = None) -> Vocabulary:
        """From a program's metadata, or from a tokenizer.json beside it.

        Raises:
            InputError: neither gives a usable tokenizer, or special tokens are missing.
        """
        special = SpecialTokens.of_program(graph)
        text = file.read_text(encoding="utf-8") if file else graph.metadata.get(TOKENIZER_KEY)
        if not text:
            raise InputError(
                "this program carries no tokenizer; give one with --tokenizer tokenizer.json"
            )
        try:
            return cls(Tokenizer.from_str(text), special)
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"the tokenizer cannot be used ({error})") from None

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without special ones."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: tuple[int, ...] | list[int]) -> str:
        """Text of tokens, on one line."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.strip()

    def decode_raw(self, tokens: list[int]) -> str:
        """Text of tokens as it stands, spaces and line ends included."""
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text
