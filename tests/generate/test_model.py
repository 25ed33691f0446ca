"""Decoding with caches against decoding by whole forward passes."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from small_programs import LENGTH, WORDS, language, translation

from intformer.errors import InputError
from intformer.generate.beam import beam_search
from intformer.generate.model import SequenceModel, logit_scale
from intformer.generate.options import Options
from intformer.generate.sample import Generator, Sampling, generate
from intformer.reference import interpret

SCALE, END = 0.002, 1


@cache
def forward(kind: str):
    graph = language() if kind == "language" else translation(polynomial=kind == "polynomial")
    graph.metadata["scales"] = json.dumps({"logits": {"scale": SCALE, "zero_point": 0}})
    return graph


@cache
def model(kind: str) -> SequenceModel:
    return SequenceModel(forward(kind), threads=1)


def sentences(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, WORDS, rng.integers(1, 15)).tolist() for _ in range(count)]


class WholePasses:
    """A decoder that computes each step anew, one row at a time, in the reference."""

    def __init__(self, kind: str, sources: list[list[int]], prompts: list[list[int]]) -> None:
        self.kind, self.sources, self.rows = kind, sources, [list(p) for p in prompts]

    def logits(self) -> np.ndarray:
        return np.concatenate([self._last(i) for i in range(len(self.rows))])

    def _last(self, i: int) -> np.ndarray:
        tokens = np.array([self.rows[i]])
        if self.kind == "language":
            return interpret(forward(self.kind), {"ids": tokens})["logits"][:, -1]
        source = np.array([self.sources[i]])
        mask = np.ones_like(source, np.uint8)
        feed = {"source": source, "source_mask": mask, "target": tokens}
        return interpret(forward(self.kind), feed)["logits"][:, -1]

    def step(self, tokens: np.ndarray) -> np.ndarray:
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            row.append(token)
        return self.logits()

    def select(self, rows: np.ndarray) -> None:
        self.rows = [list(self.rows[i]) for i in rows]
        self.sources = [self.sources[i] for i in rows] if self.sources else []


def start(kind: str, count: int, seed: int = 0):
    """The cached decoder and the slow one, after prompts of different lengths."""
    sources = [] if kind == "language" else sentences(count, seed)
    prompts = [p[:5] for p in sentences(count, seed + 1)]
    fast, first = model(kind).start(prompts, sources)
    slow = WholePasses(kind, sources, prompts)
    assert np.array_equal(first, slow.logits())
    return fast, slow, first


@pytest.mark.parametrize("kind", ["translation", "polynomial", "language"])
def test_beam_search_with_a_cache_is_beam_search_without(kind: str) -> None:
    fast, slow, first = start(kind, 4)
    options = Options(END, 3, 2, 9, early_stop=False)
    wanted = beam_search(slow, first, model(kind).scale, options)
    assert beam_search(fast, first, model(kind).scale, options) == wanted
    assert len({h.tokens for found in wanted for h in found}) > 2


@pytest.mark.parametrize("kind", ["translation", "language"])
def test_greedy_and_samples_do_not_depend_on_the_batch(kind: str) -> None:
    count = 11
    sources = [] if kind == "language" else sentences(count)
    prompts = [p[:5] for p in sentences(count, 1)]
    options = Options(END, max_length=12)
    for sampling in (None, Sampling(model(kind).scale)):

        def run(rows: list[int], sampling=sampling):
            chosen = [prompts[i] for i in rows], [sources[i] for i in rows] if sources else []
            decoder, first = model(kind).start(*chosen)
            generators = [Generator(1, prompts[i]) for i in rows]
            scale = model(kind).scale
            return generate(
                decoder, first, scale, options, sampling=sampling, generators=generators
            )

        together = run(list(range(count)))
        assert run(list(range(count))[::-1]) == together[::-1]
        assert [run([i])[0] for i in range(count)] == together


def test_caches_grow_to_the_limit_and_no_further() -> None:
    decoder, _ = model("language").start([[3]])
    for _ in range(LENGTH - 1):
        decoder.step(np.array([4]))
    with pytest.raises(InputError, match=f"{LENGTH + 1} tokens are more than .* {LENGTH}"):
        decoder.step(np.array([4]))


def test_bad_prompts_and_sources_are_refused() -> None:
    with pytest.raises(InputError, match="prompt 1 has 0 tokens"):
        model("language").start([[3], []])
    with pytest.raises(InputError, match=f"source 0 has {LENGTH + 1} tokens"):
        model("translation").start([[3]], [[4] * (LENGTH + 1)])
    with pytest.raises(InputError, match="tokens"):
        model("language").start([[WORDS]])


def test_programs_without_a_logit_scale_are_refused() -> None:
    with pytest.raises(InputError, match="does not say what its logits are worth"):
        logit_scale(language())
