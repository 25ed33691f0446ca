"""Files of sentences: every line gets a result in its place, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice

from intformer.generate.beam import beam_search
from intformer.generate.decoder import DecodingModel, Hypothesis
from intformer.generate.options import Options
from intformer.generate.sample import generate
from intformer.generate.vocabulary import Vocabulary

WINDOW = 32
"""Batches that are read at once, so that sentences of like length can go together."""

Advance = Callable[[int], None]
"""Called with the number of lines done so far."""


@dataclass
class Line:
    """A line and what became of it.

    Attributes:
        number: from 1.
        source: its text; bytes that are no UTF-8 stand as U+FFFD.
        notes: what people should know: what was done to it before, what its translation lacks.
        hypotheses: the best first; empty for an empty line.
    """

    number: int
    source: str
    notes: list[str] = field(default_factory=list)
    hypotheses: list[Hypothesis] = field(default_factory=list)


def read_lines(stream: Iterable[bytes]) -> Iterator[Line]:
    """Lines of a binary stream, split at line feeds alone."""
    for number, raw in enumerate(stream, 1):
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            yield Line(number, raw.decode("utf-8"))
        except UnicodeDecodeError:
            line = Line(number, raw.decode("utf-8", errors="replace"))
            line.notes.append("holds bytes that are not UTF-8; they were replaced")
            yield line


Job = tuple[list[int], list[int], Line]
"""Tokens of the prompt and of the source, and where the result goes."""


class Translator:
    """Translates lines, several at a time; none of them changes another's result.

    Args:
        model: a translation model.
        vocabulary: its tokens.
        options: of the search; ``max_length`` shrinks to what the program holds.
        batch: sentences that are computed together.
    """

    def __init__(
        self, model: DecodingModel, vocabulary: Vocabulary, options: Options, batch: int = 32
    ) -> None:
        self._model, self._vocabulary, self._options = model, vocabulary, options
        self._batch = batch

    def translate(
        self, lines: Iterable[Line], prefixes: Iterable[str] = (), advance: Advance | None = None
    ) -> Iterator[Line]:
        """The same lines in the same order, with their hypotheses.

        Args:
            lines: what to translate.
            prefixes: how the translation of each line begins; shorter than ``lines`` if the rest
                is free.
            advance: told how many lines are done.
        """
        stream, starts = iter(lines), iter(prefixes)
        done = 0
        while window := list(islice(stream, WINDOW * self._batch)):
            given = [next(starts, "") for _ in window]
            for finished in self._window(window, given):
                if advance is not None:
                    advance(done + finished)
            done += len(window)
            yield from window

    def _window(self, lines: list[Line], prefixes: Sequence[str]) -> Iterator[int]:
        """Translate in batches of like length; yields how many lines are done."""
        jobs = [
            (self._prompt(line, prefix), self._source(line), line)
            for line, prefix in zip(lines, prefixes, strict=True)
            if line.source.strip()
        ]
        done = len(lines) - len(jobs)
        for batch in _batches(jobs, self._batch):
            prompts, sources, rows = zip(*batch, strict=True)
            for line, hypotheses in zip(rows, self._search(sources, prompts), strict=True):
                line.hypotheses = hypotheses
                line.notes += _shortcomings(hypotheses[0])
            done += len(batch)
            yield done

    def _source(self, line: Line) -> list[int]:
        end = self._vocabulary.special.source_end
        tokens, room = self._vocabulary.encode(line.source), self._model.longest_source - len(end)
        if len(tokens) > room:
            line.notes.append(f"has {len(tokens)} tokens; only the first {room} were translated")
        return [*tokens[:room], *end]

    def _prompt(self, line: Line, prefix: str) -> list[int]:
        start = self._vocabulary.special.start
        tokens = self._vocabulary.encode_target(prefix) if prefix else []
        room = self._model.longest // 2
        if len(tokens) > room:
            line.notes.append(f"its prefix has {len(tokens)} tokens; only {room} were used")
        return [*start, *tokens[:room]]

    def _search(
        self, sources: Sequence[list[int]], prompts: Sequence[list[int]]
    ) -> list[list[Hypothesis]]:
        """Results of sentences whose prompts have one length, and so the same room."""
        room = self._model.longest - len(prompts[0])
        longest = min(self._options.max_length, room)
        shortest = min(self._options.min_length, longest)
        options = replace(self._options, max_length=longest, min_length=shortest)
        decoder, logits = self._model.start(prompts, sources)
        if options.beam > 1:
            return beam_search(decoder, logits, self._model.scale, options)
        return [[h] for h in generate(decoder, logits, self._model.scale, options)]


def _shortcomings(best: Hypothesis) -> list[str]:
    if not best.ended:
        return [f"its translation was cut off after {len(best.tokens)} tokens"]
    return [] if best.tokens else ["has an empty translation: the model ended it at once"]


def _batches(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    """Jobs of one prompt length, those of like source length together."""
    for _, group in groupby(sorted(jobs, key=_lengths), key=lambda job: len(job[0])):
        while batch := list(islice(group, size)):
            yield batch


def _lengths(job: Job) -> tuple[int, int]:
    return len(job[0]), len(job[1])
