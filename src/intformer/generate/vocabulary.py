"""Between text and tokens: a tokenizer and the tokens with a meaning of their own."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from intformer.errors import InputError
from intformer.evaluate.tokenizer_text import pack, unpack
from intformer.evaluate.tokens import METADATA_KEY as TOKENIZER_KEY
from intformer.generate.special import METADATA_KEY, SpecialTokens
from intformer.ir.graph import Graph


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
            return cls(Tokenizer.from_str(unpack(text)), special)
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"the tokenizer cannot be used ({error})") from None

    @classmethod
    def of_file(cls, file: Path, special: SpecialTokens) -> Vocabulary:
        """From a tokenizer.json.

        Raises:
            InputError: it cannot be used.
        """
        try:
            return cls(Tokenizer.from_file(str(file)), special)
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{file}: not a usable tokenizer file ({error})") from None

    def to_metadata(self) -> dict[str, str]:
        """Entries for a program's metadata, which ``of_program`` reads."""
        text = self._tokenizer.to_str()
        return {TOKENIZER_KEY: pack(text), METADATA_KEY: self.special.to_metadata()}

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
