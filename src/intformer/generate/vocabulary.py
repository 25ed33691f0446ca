"""Between text and tokens: a tokenizer and the tokens with a meaning of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from intformer.errors import InputError, IntformerError
from intformer.evaluate.tokenizer_text import pack, unpack
from intformer.evaluate.tokens import METADATA_KEY as TOKENIZER_KEY
from intformer.generate.piece_folder import read_pieces
from intformer.generate.sentence_pieces import MARK, Pieces, SentencePieces
from intformer.generate.special import METADATA_KEY, SpecialTokens
from intformer.ir.graph import Graph


class Tokenizer(Protocol):
    """Text of both sides to tokens, tokens of the target to text."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a source, or of a language model's text, without special ones."""

    def encode_target(self, text: str) -> list[int]:
        """Tokens of a target, without special ones."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens as it stands, spaces and line ends included."""

    def to_text(self) -> str:
        """All of it, for a program's metadata."""


class SharedTokenizer:
    """A tokenizer.json; both sides of a translation share it."""

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """See ``Tokenizer``."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    encode_target = encode

    def decode(self, tokens: Sequence[int]) -> str:
        """See ``Tokenizer``."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def to_text(self) -> str:
        """See ``Tokenizer``."""
        return pack(self._tokenizer.to_str())


class Vocabulary:
    """A tokenizer and the special tokens of a program."""

    def __init__(self, tokenizer: Tokenizer, special: SpecialTokens) -> None:
        self._tokenizer, self.special = tokenizer, special

    @classmethod
    def of_program(cls, graph: Graph, file: Path | None = None) -> Vocabulary:
        """From a program's metadata, or from tokenizer files beside it (see ``of_file``).

        Raises:
            InputError: neither gives a usable tokenizer, or special tokens are missing.
        """
        special = SpecialTokens.of_program(graph)
        if file is not None:
            return cls.of_file(file, special)
        text = graph.metadata.get(TOKENIZER_KEY)
        if not text:
            raise InputError(
                "this program carries no tokenizer; give one with --tokenizer tokenizer.json"
            )
        try:
            return cls(_of_text(text), special)
        except (IntformerError, ImportError):
            raise
        except Exception as error:  # the libraries raise plain Exception
            raise InputError(f"the program's tokenizer cannot be used ({error})") from None

    @classmethod
    def of_file(cls, file: Path, special: SpecialTokens) -> Vocabulary:
        """From a tokenizer.json, or from a folder with source.spm, target.spm and vocab.json.

        Raises:
            InputError: it cannot be used.
        """
        try:
            return cls(_of_file(file), special)
        except (IntformerError, ImportError):
            raise
        except Exception as error:  # the libraries raise plain Exception
            raise InputError(f"{file}: not a usable tokenizer ({error})") from None

    def to_metadata(self) -> dict[str, str]:
        """Entries for a program's metadata, which ``of_program`` reads."""
        text = self._tokenizer.to_text()
        return {TOKENIZER_KEY: text, METADATA_KEY: self.special.to_metadata()}

    def encode(self, text: str) -> list[int]:
        """Tokens of a source, or of a language model's text, without special ones."""
        return self._tokenizer.encode(text)

    def encode_target(self, text: str) -> list[int]:
        """Tokens of a target, without special ones."""
        return self._tokenizer.encode_target(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, without spaces around it."""
        return self.decode_raw(tokens).strip()

    def decode_raw(self, tokens: Sequence[int]) -> str:
        """Text of tokens as it stands, spaces and line ends included."""
        return self._tokenizer.decode(tokens)


def _of_text(text: str) -> Tokenizer:
    if text.startswith(MARK):
        return SentencePieces(Pieces.of_text(text))
    from tokenizers import Tokenizer as Library

    return SharedTokenizer(Library.from_str(unpack(text)))


def _of_file(file: Path) -> Tokenizer:
    if file.is_dir():
        return SentencePieces(read_pieces(file))
    from tokenizers import Tokenizer as Library

    return SharedTokenizer(Library.from_file(str(file)))
