"""A sequence program, cut and ready to decode: prompts in, rows of logits out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from intformer.errors import InputError
from intformer.generate.cut import CAPACITY, POSITION, TOKENS, StepPrograms, cut
from intformer.generate.decoder import Integers
from intformer.generate.fixed_point import LogitScale
from intformer.ir.graph import Graph
from intformer.runtime.memory import aligned_empty
from intformer.runtime.session import Session

CACHE_STEP = 32
"""Caches grow by doubling, in multiples of this many positions."""

ROW_STEP = 8
"""Batches above this size are filled up to a multiple of it, and sources to a multiple in length:
each size has a plan of its own, which takes longer to make than a few spare rows to compute."""


class SequenceModel:
    """Decodes with the programs that ``cut`` makes.

    Args:
        forward: integer program of a translation or language model.
        threads: threads of one run; all cores of the process if None.

    Raises:
        InputError: the program cannot be decoded, or does not say what its logits are worth.
    """

    def __init__(self, forward: Graph, threads: int | None = None) -> None:
        self.programs: StepPrograms = cut(forward)
        self.scale = logit_scale(forward)
        encoder, step = self.programs.encoder, self.programs.step
        self.encode = None if encoder is None else Session(encoder, threads).run
        self.step = Session(step, threads)
        self.words = step.input_ranges.get(TOKENS, (0, 2**63 - 1))
        self.longest = step.limits[CAPACITY]
        self.longest_source = 0
        if encoder is not None:
            length = encoder.inputs[_source(encoder)].shape[1]
            self.longest_source = encoder.limits[str(length)]

    def start(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] = ()
    ) -> tuple[CachedDecoder, Integers]:
        """A decoder with one row per prompt, and the int16 logits [N, V] after the prompts.

        Args:
            prompts: token ids of each row, at least the start token.
            sources: token ids of each source, for a translation model.

        Raises:
            InputError: a prompt is empty, a prompt or source too long, or a token out of range.
        """
        _check_lengths("prompt", prompts, self.longest)
        state: dict[str, Integers] = {}
        if self.encode is not None:
            _check_lengths("source", sources, self.longest_source)
            state = self._encoded(sources)
        decoder = CachedDecoder(self, state, len(prompts))
        return decoder, decoder.feed(prompts)

    def _encoded(self, sources: Sequence[Sequence[int]]) -> dict[str, Integers]:
        """What the step reads of the sources."""
        assert self.programs.encoder is not None and self.encode is not None
        tokens, lengths = padded(sources, ROW_STEP, self.longest_source)
        mask = (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.uint8)
        name = _source(self.programs.encoder)
        feed = {n: tokens if n == name else mask for n in self.programs.encoder.inputs}
        return {**self.encode(feed), **{n: feed[n] for n in self.programs.shared}}


class CachedDecoder:
    """Rows of hypotheses with their caches; see ``Decoder``.

    All arrays hold a few spare rows at the end (see ``ROW_STEP``); caches are written in place, and
    so are the logits of a step.
    """

    def __init__(self, model: SequenceModel, state: dict[str, Integers], rows: int) -> None:
        self._model, self._rows = model, rows
        spare = _spread(np.arange(rows))
        every = np.arange(len(spare))
        self._memory = {k: _moved(a, spare, every[rows:], None) for k, a in state.items()}
        self._origin, self._position = spare, np.zeros(len(spare), np.int64)
        kinds = model.programs.step.inputs
        self._caches = {
            name: np.zeros((len(spare), 0, int(kinds[name].shape[2])), np.uint8)
            for name in model.programs.caches
        }
        self._tokens = spare[:, None].copy()
        self._next: Callable[[], dict[str, Integers]] | None = None

    def feed(self, prompts: Sequence[Sequence[int]]) -> Integers:
        """Append several tokens to each row; logits after the last of each."""
        tokens, lengths = padded(prompts)
        self._grow(int(self._position.max(initial=0)) + tokens.shape[1])
        feed = self._feed(_spread(tokens))
        logits = self._model.step.run(feed, self._caches)["logits"]
        self._position += _spread(lengths)
        return np.ascontiguousarray(logits[np.arange(len(prompts)), lengths - 1])

    def step(self, tokens: Integers) -> Integers:
        """Append ``tokens`` int64 [N], one to each row; int16 logits [N, V] of what follows.

        The logits are valid until the next step.

        Raises:
            InputError: a row is as long as the program allows, or a token is out of range.
        """
        least, most = self._model.words
        if tokens.min() < least or tokens.max() > most:
            raise InputError(f"tokens are outside [{least}, {most}]")
        self._grow(int(self._position.max(initial=0)) + 1)
        self._tokens[: self._rows, 0] = tokens
        if self._next is None:
            self._next = self._model.step.prepared(self._feed(self._tokens), self._caches)
        logits = self._next()["logits"]
        self._position += 1
        return logits[: self._rows, 0]

    def select(self, rows: Integers) -> None:
        """Row i becomes what row ``rows[i]`` is now; rows may repeat or be left out."""
        self._rows, index = len(rows), _spread(rows)
        used = int(self._position.max(initial=0))
        if len(index) != len(self._position):
            self._next, self._tokens = None, np.zeros((len(index), 1), np.int64)
        origin = self._origin[index]
        moved = _changes(self._origin, origin)
        self._memory = {k: _moved(a, index, moved, None) for k, a in self._memory.items()}
        moved = _changes(np.arange(len(self._origin)), index)
        self._caches = {k: _moved(a, index, moved, used) for k, a in self._caches.items()}
        self._origin, self._position = origin, _taken(self._position, index)

    def _feed(self, tokens: Integers) -> dict[str, Integers]:
        return {TOKENS: tokens, POSITION: self._position, **self._memory, **self._caches}

    def _grow(self, needed: int) -> None:
        """Make the caches hold ``needed`` positions; those not written yet are never read."""
        longest, held = self._model.longest, next(iter(self._caches.values())).shape[1]
        if needed > longest:
            raise InputError(f"{needed} tokens are more than the program's {longest} positions")
        if needed <= held:
            return
        capacity = min(longest, max(2 * held, -(-needed // CACHE_STEP) * CACHE_STEP))
        self._next = None
        for name, old in self._caches.items():
            self._caches[name] = aligned_empty((len(old), capacity, old.shape[2]), "uint8")
            self._caches[name][:, :held] = old


def _spread(rows: Integers) -> Integers:
    """``rows`` with the first repeated at the end until their number is a multiple."""
    count = len(rows)
    spare = -count % ROW_STEP if count > ROW_STEP else 0
    return rows if not spare else np.concatenate([rows, np.repeat(rows[:1], spare, axis=0)])


def _changes(old: Integers, new: Integers) -> Integers:
    """Places of ``new`` whose content is not what stands there already."""
    shared = min(len(old), len(new))
    return np.flatnonzero(np.append(old[:shared] != new[:shared], np.ones(len(new) - shared, bool)))


def _moved(array: Integers, index: Integers, moved: Integers, used: int | None) -> Integers:
    """``array[index]``, of which only the places ``moved`` and positions up to ``used`` differ."""
    if len(index) > len(array):
        grown = aligned_empty((len(index), *array.shape[1:]), array.dtype)
        grown[:, :used] = array[index, :used]
        return grown
    if len(moved):
        array[moved, :used] = array[index[moved], :used]
    return array if len(index) == len(array) else array[: len(index)]


def _taken(position: Integers, index: Integers) -> Integers:
    """``position[index]``, in its own memory where that has the size: steps read it there."""
    if len(index) != len(position):
        return np.asarray(position[index])
    position[:] = position[index]
    return position


def logit_scale(graph: Graph, temperature: Fraction = Fraction(1)) -> LogitScale:
    """What the program says its logits are worth, at a temperature.

    Raises:
        InputError: it does not say, or not in a way that can be used.
    """
    stored = json.loads(graph.metadata.get("scales", "{}"), parse_float=Fraction)
    found = stored.get("logits", {}).get("scale") if isinstance(stored, dict) else None
    if not isinstance(found, Fraction | int):
        raise InputError("this program does not say what its logits are worth; quantize it again")
    return LogitScale.of(Fraction(found), temperature)


def padded(
    rows: Sequence[Sequence[int]], multiple: int = 1, longest: int | None = None
) -> tuple[Integers, Integers]:
    """Right-padded int64 [N, T] with T a multiple, but at most ``longest``; and the lengths [N]."""
    lengths = np.array([len(row) for row in rows], np.int64)
    width = -(-int(lengths.max()) // multiple) * multiple
    tokens = np.zeros((len(rows), width if longest is None else min(width, longest)), np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens, lengths


def _source(encoder: Graph) -> str:
    """The encoder's input of token ids."""
    return next(name for name, kind in encoder.inputs.items() if kind.dtype in ("int64", "int32"))


def _check_lengths(what: str, rows: Sequence[Sequence[int]], longest: int) -> None:
    for number, row in enumerate(rows):
        if not 1 <= len(row) <= longest:
            raise InputError(
                f"{what} {number} has {len(row)} tokens; this program takes 1 to {longest}"
            )
