"""SmolLM2-135M as an integer program: a pass and steps with a cache, the same bytes everywhere.

Off unless INTFORMER_SMOLLM2 names the program of zoo/smollm2/README.md: making it takes minutes,
and so do the comparisons.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from whole_models import assert_same, float_places

from intformer.artifact import load, save
from intformer.generate.cut import POSITION, TOKENS, cut
from intformer.generate.model import padded
from intformer.generate.vocabulary import Vocabulary
from intformer.ir.graph import Array, Graph
from intformer.reference import interpret
from intformer.runtime.session import Session, native

Inputs = Mapping[str, Array]
Run = Callable[[Inputs], dict[str, Array]]

CAPACITY, STEPS = 16, 3
PROMPTS = ("The capital of France is", "Once upon a time there was a little")


@cache
def program() -> Graph:
    file = os.environ.get("INTFORMER_SMOLLM2", "")
    if not file:
        pytest.skip("INTFORMER_SMOLLM2 does not name a program made as zoo/smollm2/README.md says")
    return load(file)


@cache
def rows() -> tuple[tuple[int, ...], ...]:
    """Prompts of different lengths, as tokens."""
    vocabulary = Vocabulary.of_program(program())
    return tuple((*vocabulary.special.start, *vocabulary.encode(text)) for text in PROMPTS)


def in_onnx_runtime(file: Path, graph: Graph) -> Run:
    """Inputs of a cache have names of their own in a file; the order is the program's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options)
    inputs, names = [kind.name for kind in session.get_inputs()], list(graph.outputs)

    def run(feed: Inputs) -> dict[str, Array]:
        arrays = (feed[name] for name in graph.inputs)
        made = session.run(names, dict(zip(inputs, arrays, strict=True)))
        return dict(zip(names, made, strict=True))

    return run


def engines(graph: Graph, folder: Path, forms: tuple[str, ...]) -> dict[str, Run]:
    """What has to give the bytes of the reference; the files hold no float."""
    found: dict[str, Run] = {}
    for form in forms:
        file = folder / f"{form}.onnx"
        save(graph, file, flat=form == "flat")
        assert float_places(onnx.load(file)) == []
        found[form] = in_onnx_runtime(file, graph)
    if native is not None:
        found["native"] = Session(graph, threads=2).run
    return found


def test_a_pass_over_a_text(tmp_path: Path) -> None:
    graph = program()
    (name,) = graph.inputs
    inputs = {name: padded(rows())[0]}
    wanted = interpret(graph, inputs)
    for run in engines(graph, tmp_path, ("structured", "flat")).values():
        assert_same(graph, run(inputs), wanted)


def test_steps_with_a_cache(tmp_path: Path) -> None:
    """A prompt, then one token at a time; logits are also those of a pass over all tokens."""
    whole = program()
    programs = cut(whole)
    graph = programs.step
    others = engines(graph, tmp_path, ("flat",))
    (name,) = whole.inputs
    tokens, lengths = padded(rows())
    kinds = (graph.inputs[key] for key in programs.caches)
    state = {
        key: np.zeros((len(tokens), CAPACITY, int(kind.shape[2])), np.uint8)
        for key, kind in zip(programs.caches, kinds, strict=True)
    }
    position, texts = np.zeros(len(tokens), np.int64), [list(row) for row in rows()]
    for step in range(1 + STEPS):
        feed = {TOKENS: tokens, POSITION: position, **state}
        made = interpret(graph, feed)
        for run in others.values():
            assert_same(graph, run(feed), made)
        last = made["logits"][np.arange(len(tokens)), (lengths if step == 0 else 1) - 1]
        for text, row in zip(texts, last, strict=True):
            passed = interpret(whole, {name: np.array([text])})["logits"][0, -1]
            assert (row == passed).all()
            text.append(int(row.argmax()))
        state = {key: made[key] for key in programs.caches}
        position = position + (lengths if step == 0 else 1)
        tokens = np.array([text[-1:] for text in texts])
    assert len(texts[0]) == len(rows()[0]) + 1 + STEPS
