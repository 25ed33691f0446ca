"""Line-aligned texts in two languages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from intformer.errors import InputError
from intformer.evaluate.datasets import existing, spread
from intformer.evaluate.pairs import read_text


@dataclass(frozen=True)
class ParallelText:
    """Sentences and their translations by people, line by line."""

    source: list[str]
    target: list[str]

    def __len__(self) -> int:
        return len(self.source)

    def limited(self, limit: int | None) -> ParallelText:
        """``limit`` pairs spread evenly over all."""
        rows = spread(len(self), limit)
        return ParallelText([self.source[i] for i in rows], [self.target[i] for i in rows])


def open_parallel(data: str | Path, pair: str, split: str) -> ParallelText:
    """Read a folder with files ``SPLIT.LANGUAGE`` (or ``.gz``), or a ``.tsv`` with two columns.

    Args:
        data: the folder or file; a name such as ``multi30k`` is looked for in the data folder.
        pair: languages of source and target, ``"en-de"``; a ``.tsv`` does without.
        split: of a folder: ``train``, ``val`` ...

    Raises:
        InputError: something is missing, empty or not aligned.
    """
    path = existing(data)
    found = _folder(path, pair, split) if path.is_dir() else _columns(path)
    if not found.source:
        raise InputError(f"{path}: no sentence pairs in it")
    return found


def _folder(path: Path, pair: str, split: str) -> ParallelText:
    languages = pair.split("-")
    if len(languages) != 2:
        raise InputError(
            f"{path}: which of its languages? the model does not say; give --pair, as in en-de"
        )
    source, target = (_lines(_file(path, split, language)) for language in languages)
    if len(source) != len(target):
        raise InputError(
            f"{path}: {split} has {len(source)} lines of {languages[0]} "
            f"but {len(target)} of {languages[1]}"
        )
    return ParallelText(source, target)


def _file(path: Path, split: str, language: str) -> Path:
    names = [f"{split}.{language}", f"{split}.{language}.gz"]
    for name in names:
        if (path / name).is_file():
            return path / name
    splits = sorted({p.name.split(".")[0] for p in path.glob(f"*.{language}*")})
    raise InputError(
        f"{path}: has no {names[0]} or {names[1]}; of {language} there is "
        f"{', '.join(splits) or 'nothing'}"
    )


def _columns(path: Path) -> ParallelText:
    rows = [line.split("\t") for line in _lines(path)]
    for number, row in enumerate(rows, 1):
        if len(row) < 2:
            raise InputError(f"{path} row {number}: no tab between a sentence and its translation")
    return ParallelText([row[0] for row in rows], [row[1] for row in rows])


def _lines(path: Path) -> list[str]:
    """Lines, split at line feeds alone: other separators are part of a sentence."""
    lines = read_text(path).split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
