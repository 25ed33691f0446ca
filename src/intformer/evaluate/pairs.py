"""Sentences and sentence pairs for text encoders."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

from intformer.errors import InputError
from intformer.evaluate.datasets import existing, spread


@dataclass(frozen=True)
class SentencePairs:
    """Pairs of sentences with a human similarity score each, as in STS-B."""

    first: list[str]
    second: list[str]
    scores: list[float]

    def __len__(self) -> int:
        return len(self.scores)

    def limited(self, limit: int | None) -> SentencePairs:
        """``limit`` pairs spread evenly over all."""
        rows = spread(len(self), limit)
        columns = (self.first, self.second)
        first, second = ([column[row] for row in rows] for column in columns)
        return SentencePairs(first, second, [self.scores[row] for row in rows])


def open_pairs(data: str | Path) -> SentencePairs:
    """Read a CSV file with rows ``sentence,sentence,score``; a heading row is allowed.

    Raises:
        InputError: missing file, a row of another form (its number is named), or no rows.
    """
    path = existing(data)
    pairs = SentencePairs([], [], [])
    for number, row in enumerate(_rows(path), 1):
        if len(row) < 3:
            raise InputError(
                f"{path} row {number}: {len(row)} columns; sentence, sentence, score are needed"
            )
        score = _score(row[2])
        if score is None and number == 1:
            continue
        if score is None:
            raise InputError(f"{path} row {number}: score {row[2]!r} is not a number")
        pairs.first.append(row[0])
        pairs.second.append(row[1])
        pairs.scores.append(score)
    if not pairs.scores:
        raise InputError(f"{path}: no sentence pairs in this file")
    return pairs


def open_texts(data: str | Path) -> list[str]:
    """The sentences of a CSV file of pairs, or the non-empty lines of a text file.

    Raises:
        InputError: missing or empty file, or not text.
    """
    path = existing(data)
    if path.suffix == ".csv":
        pairs = open_pairs(path)
        return [text for both in zip(pairs.first, pairs.second, strict=True) for text in both]
    if path.is_dir() or path.suffix in (".parquet", ".pq"):
        raise InputError(f"{path}: a text encoder needs a .csv of sentence pairs or a .txt file")
    texts = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not texts:
        raise InputError(f"{path}: no text in this file")
    return texts


def _rows(path: Path) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: not a readable CSV file ({error})") from None


def read_text(path: Path) -> str:
    """A whole text file, unpacked if its name ends in ``.gz``.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 text ({error})") from None


def _score(text: str) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if math.isfinite(score) else None
