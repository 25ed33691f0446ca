"""A sequence program, cut and ready to decode: prompts in, rows of logits out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from intformer.errors import InputError
from intformer.generate.cut import CAPACITY, POSITION, TOKENS, StepPrograms, cut
from intformer.generate.decoder import Integers
from intformer.generate.fixed_point import LogitScale
from intformer.ir.graph import Graph
from intformer.runtime.session import Session

CACHE_STEP = 32
"""Caches grow by doubling, in multiples of this many positions."""

ROW_STEP = 8
"""Batches above this size are filled up to a multiple of it, and sources to a multiple in length:
each size has a plan of its own, which takes longer to make than a few spare rows to compute."""

Run = Callable[[Mapping[str, Integers]], dict[str, Integers]]


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
        self.encode: Run | None = None if encoder is None else Session(encoder, threads).run
        self.step: Run = Session(step, threads).run
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
            state = self._encoded(self.encode, sources)
        decoder = CachedDecoder(self, state, len(prompts))
        return decoder, decoder.feed(prompts)

    def _encoded(self, encode: Run, sources: Sequence[Sequence[int]]) -> dict[str, Integers]:
        """What the step reads of the sources."""
        assert self.programs.encoder is not None
        tokens, lengths = padded(sources, ROW_STEP, self.longest_source)
        mask = (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.uint8)
        name = _source(self.programs.encoder)
        feed = {n: tokens if n == name else mask for n in self.programs.encoder.inputs}
        return {**encode(feed), **{n: feed[n] for n in self.programs.shared}}


class CachedDecoder:
    """Rows of hypotheses with their caches; see ``Decoder``."""

    def __init__(self, model: SequenceModel, state: dict[str, Integers], rows: int) -> None:
        self._model, self._memory = model, state
        self._origin = np.arange(rows)
        self._position = np.zeros(rows, np.int64)
        self._caches = {
            name: np.zeros((rows, 0, int(model.programs.step.inputs[name].shape[2])), np.uint8)
            for name in model.programs.caches
        }

    def feed(self, prompts: Sequence[Sequence[int]]) -> Integers:
        """Append several tokens to each row; logits after the last of each."""
        tokens, lengths = padded(prompts)
        logits = self._run(tokens)
        self._position += lengths
        return np.ascontiguousarray(logits[np.arange(len(prompts)), lengths - 1])

    def step(self, tokens: Integers) -> Integers:
        """Append ``tokens`` int64 [N], one to each row; int16 logits [N, V] of what follows.

        Raises:
            InputError: a row is as long as the program allows.
        """
        logits = self._run(tokens[:, None])
        self._position += 1
        return logits[:, 0]

    def select(self, rows: Integers) -> None:
        """Row i becomes what row ``rows[i]`` is now; rows may repeat or be left out."""
        if np.array_equal(rows, np.arange(len(self._position))):
            return
        origin = self._origin[rows]
        if not np.array_equal(origin, self._origin):
            self._memory = {name: array[rows] for name, array in self._memory.items()}
        self._origin, self._position = origin, self._position[rows]
        self._caches = {name: array[rows] for name, array in self._caches.items()}

    def _run(self, tokens: Integers) -> Integers:
        """Logits int16 [N, T, V] of the new tokens; their keys and values go into the caches."""
        rows = len(tokens)
        filled = rows if rows <= ROW_STEP else -(-rows // ROW_STEP) * ROW_STEP
        self._grow(int(self._position.max(initial=0)) + tokens.shape[1])
        feed = {TOKENS: tokens, POSITION: self._position, **self._memory, **self._caches}
        made = self._model.step({name: _fill(array, filled) for name, array in feed.items()})
        self._caches = {name: made[name][:rows] for name in self._caches}
        return made["logits"][:rows]

    def _grow(self, needed: int) -> None:
        """Make the caches hold ``needed`` positions; those not written yet are never read."""
        longest, held = self._model.longest, next(iter(self._caches.values())).shape[1]
        if needed > longest:
            raise InputError(f"{needed} tokens are more than the program's {longest} positions")
        if needed <= held:
            return
        capacity = min(longest, max(2 * held, -(-needed // CACHE_STEP) * CACHE_STEP))
        for name, old in self._caches.items():
            self._caches[name] = np.zeros((len(old), capacity, old.shape[2]), np.uint8)
            self._caches[name][:, :held] = old


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


def _fill(array: Integers, rows: int) -> Integers:
    """The first row repeated at the end until there are ``rows``."""
    if len(array) == rows:
        return array
    return np.concatenate([array, np.repeat(array[:1], rows - len(array), axis=0)])


def _source(encoder: Graph) -> str:
    """The encoder's input of token ids."""
    return next(name for name, kind in encoder.inputs.items() if kind.dtype in ("int64", "int32"))


def _check_lengths(what: str, rows: Sequence[Sequence[int]], longest: int) -> None:
    for number, row in enumerate(rows):
        if not 1 <= len(row) <= longest:
            raise InputError(
                f"{what} {number} has {len(row)} tokens; this program takes 1 to {longest}"
            )
