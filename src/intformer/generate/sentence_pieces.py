"""Text and tokens of Marian models: two SentencePiece models, one vocabulary or two.

A SentencePiece file cuts text into pieces as it did for training; which token a piece is, the
model's own vocabulary says. Everything follows ``transformers.MarianTokenizer``, to whose ids and
texts the tests hold it with ``==``. The cutting is the SentencePiece library's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from intformer.ir.packed_bytes import pack, unpack

MARK = "spm:"
"""Begins the text of such a tokenizer in a program; no tokenizer.json begins like that."""

SPACE = "▁"
"""What SentencePiece writes for a space."""

TIDY = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
"""Spaces that ``clean_up_tokenization_spaces`` takes out of a result, in this order."""


@dataclass(frozen=True)
class Pieces:
    """What such a tokenizer consists of.

    Attributes:
        source, target: SentencePiece files.
        words: the piece of each token.
        target_words: those of the target, if it has a vocabulary of its own.
        marks: texts that are one token wherever they stand, with the token.
        hidden: tokens that a result does not show.
        unknown: the token of pieces that the vocabulary lacks.
        tidy: whether results lose the spaces of ``TIDY``.
    """

    source: bytes
    target: bytes
    words: tuple[str, ...]
    target_words: tuple[str, ...]
    marks: Mapping[str, int]
    hidden: tuple[int, ...]
    unknown: int
    tidy: bool = False

    def to_text(self) -> str:
        """Printable text, which ``of_text`` reads: a line of JSON and the two files, compressed."""
        told = {k: v for k, v in asdict(self).items() if k not in ("source", "target")}
        line = json.dumps({**told, "split": len(self.source)}, ensure_ascii=False)
        return MARK + pack(line.encode() + b"\n" + self.source + self.target)

    @classmethod
    def of_text(cls, text: str) -> Pieces:
        """From what ``to_text`` wrote.

        Raises:
            InputError: it is damaged or too large.
            ValueError, TypeError, KeyError, AttributeError: it makes no sense.
        """
        line, _, files = unpack(text.removeprefix(MARK), "tokenizer").partition(b"\n")
        told = json.loads(line)
        split = _token(told.pop("split"))
        for name in ("words", "target_words"):
            told[name] = tuple(map(_text, told[name]))
        told["hidden"] = tuple(map(_token, told["hidden"]))
        told["marks"] = {_text(k): _token(v) for k, v in told["marks"].items()}
        _token(told["unknown"])
        return cls(source=files[:split], target=files[split:], **told)


class SentencePieces:
    """Encodes sources and targets, decodes results.

    Raises:
        RuntimeError: a SentencePiece file cannot be used.
    """

    def __init__(self, pieces: Pieces) -> None:
        from sentencepiece import SentencePieceProcessor

        self.pieces = pieces
        self._source, self._target = (
            SentencePieceProcessor(model_proto=file) for file in (pieces.source, pieces.target)
        )
        marks, own = pieces.marks, pieces.target_words or pieces.words
        self._source_ids = {**_numbered(pieces.words), **marks}
        self._target_ids = {**_numbered(own), **marks}
        self._shown = {**dict(enumerate(own)), **{token: text for text, token in marks.items()}}
        for token in pieces.hidden:
            self._shown.pop(token, None)
        longest_first = sorted(marks, key=len, reverse=True)
        self._marks = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def encode(self, text: str) -> list[int]:
        """Tokens of a source, without the end token."""
        return self._encode(text, self._source, self._source_ids)

    def encode_target(self, text: str) -> list[int]:
        """Tokens of a target, without start and end."""
        return self._encode(text, self._target, self._target_ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of target tokens. As in the library, the source's file joins a shared vocabulary."""
        reader = self._target if self.pieces.target_words else self._source
        shown = [self._shown[token] for token in tokens if token in self._shown]
        text: str = reader.decode_pieces(shown).replace(SPACE, " ").strip()
        for spaced, close in TIDY if self.pieces.tidy else ():
            text = text.replace(spaced, close)
        return text

    def to_text(self) -> str:
        """For a program's metadata."""
        return self.pieces.to_text()

    def _encode(self, text: str, model: Any, ids: Mapping[str, int]) -> list[int]:
        found: list[str] = []
        for part in filter(None, self._marks.split(text)):
            if part in self.pieces.marks:
                found.append(part)
                continue
            language, rest = _language(part)
            found += [*language, *model.encode(rest, out_type=str)]
        return [ids.get(piece, self.pieces.unknown) for piece in found]


def _language(text: str) -> tuple[list[str], str]:
    """The language a multilingual model shall write (``>>fra<<`` in front), and the rest."""
    end = text.find("<<")
    if not text.startswith(">>") or end < 0:
        return [], text
    return [text[: end + 2]], text[end + 2 :]


def _numbered(words: Sequence[str]) -> dict[str, int]:
    return {word: token for token, word in enumerate(words)}


def _token(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no token")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
