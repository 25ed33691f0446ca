"""The interpreter: whole programs, batches, and what it tells an observer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import programs
from intformer.errors import InputError
from intformer.ir.graph import Array, Graph
from intformer.quantize.torch_primitives import run_torch
from intformer.reference import execute, interpret
from intformer.reference.primitives import NumpyPrimitives

MODELS = {"vit": (programs.vit_like, {"N": 3}), "bert": (programs.bert_like, {"N": 3, "S": 11})}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_torch_gives_the_bytes_of_the_reference(name: str, seed: int) -> None:
    build, sizes = MODELS[name]
    graph = build(seed)
    inputs = programs.random_inputs(graph, sizes, seed)
    wanted, got = interpret(graph, inputs), run_torch(graph, inputs)
    assert list(wanted) == list(got) == list(graph.outputs)
    for public, array in wanted.items():
        assert array.dtype == got[public].dtype
        assert (array == got[public]).all()
        assert array.size < 8 or len(np.unique(array)) > 4


@pytest.mark.parametrize("run", [interpret, run_torch])
def test_a_result_does_not_depend_on_the_batch(
    run: Callable[[Graph, dict[str, Array]], dict[str, Array]],
) -> None:
    graph = programs.vit_like()
    pixels = programs.random_inputs(graph, {"N": 5})["pixels"]
    together = run(graph, {"pixels": pixels})
    for order in ([4], [2, 0], [3, 3, 1]):
        alone = run(graph, {"pixels": pixels[order]})
        assert all((alone[name] == together[name][order]).all() for name in together)


def test_padding_does_not_change_a_result() -> None:
    graph = programs.bert_like()
    rng = np.random.default_rng(0)
    ids, extra = rng.integers(0, 50, (2, 7)), rng.integers(0, 50, (2, 6))
    mask = np.ones((2, 7), np.uint8)
    short = interpret(graph, {"ids": ids, "mask": mask})["states"]
    padded = {"ids": np.hstack([ids, extra]), "mask": np.hstack([mask, extra.astype(np.uint8) * 0])}
    assert (interpret(graph, padded)["states"][:, :7] == short).all()


def test_an_observer_sees_every_value_in_order() -> None:
    graph = programs.bert_like()
    seen: list[str] = []
    interpret(
        graph,
        programs.random_inputs(graph, {"N": 1, "S": 4}),
        observer=lambda name, array: seen.append(name),
    )
    assert seen == [node.output for node in graph]


def test_values_are_dropped_after_their_last_use() -> None:
    graph = programs.vit_like()
    values = {**graph.constants, **programs.random_inputs(graph, {"N": 2})}
    outputs = execute(graph, NumpyPrimitives(), values)
    assert set(values) == set(graph.outputs.values())
    assert set(outputs) == set(graph.outputs)


def test_inputs_are_checked() -> None:
    graph = programs.vit_like()
    with pytest.raises(InputError, match="must be integers"):
        interpret(graph, {"pixels": np.zeros((1, 12, 12, 3), np.float32)})
    with pytest.raises(InputError, match="must have shape"):
        run_torch(graph, {"pixels": np.zeros((1, 3, 12, 12), np.uint8)})
