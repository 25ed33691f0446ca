"""The native runtime computes the bytes of the reference interpreter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from intformer.errors import InputError
from intformer.ir.graph import Graph
from intformer.reference import interpret
from intformer.runtime import Session
from programs import bert_like, random_inputs, single_operator_cases, vit_like
from published_programs import published_like, published_windows

CASES = single_operator_cases()
SIZES = [{"N": 1, "S": 7}, {"N": 3, "S": 1}, {"N": 8, "S": 9}]


def assert_same(graph: Graph, session: Session, sizes: dict[str, int], seed: int = 0) -> None:
    inputs = random_inputs(graph, sizes, seed)
    expected, actual = interpret(graph, inputs), session.run(inputs)
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        np.testing.assert_array_equal(actual[name], array)


@pytest.mark.parametrize("name", CASES)
def test_operator_equals_reference(name: str) -> None:
    graph = CASES[name]()
    session = Session(graph, threads=2)
    for seed, sizes in enumerate(SIZES):
        assert_same(graph, session, sizes, seed)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("make", [vit_like, bert_like, published_like, published_windows])
def test_program_equals_reference(make: type, threads: int) -> None:
    graph = make(seed=threads)
    session = Session(graph, threads=threads)
    for seed, sizes in enumerate(SIZES):
        assert_same(graph, session, sizes, seed)


def test_result_is_independent_of_batch_mates() -> None:
    graph = vit_like()
    session = Session(graph)
    inputs = random_inputs(graph, {"N": 8})
    together = session.run(inputs)
    order = np.random.default_rng(0).permutation(8)
    shuffled = session.run({"pixels": inputs["pixels"][order]})
    for name, array in together.items():
        np.testing.assert_array_equal(shuffled[name], array[order])


def test_concurrent_runs_share_a_session() -> None:
    graph = bert_like()
    session = Session(graph, threads=2)
    requests = [random_inputs(graph, {"N": 1 + i % 3, "S": 1 + i % 11}, i) for i in range(24)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(session.run, requests))
    for request, result in zip(requests, results, strict=True):
        expected = interpret(graph, request)
        for name, array in expected.items():
            np.testing.assert_array_equal(result[name], array)


def test_wrong_input_is_refused() -> None:
    session = Session(vit_like())
    with pytest.raises(InputError, match="pixels"):
        session.run({"pixels": np.zeros((1, 3, 12, 12), np.uint8)})


def test_arena_is_known_before_the_first_run() -> None:
    session = Session(vit_like(), threads=1)
    assert 0 < session.arena_bytes(N=1) < session.arena_bytes(N=8)


def test_outputs_are_written_where_the_caller_wants_them():
    graph = bert_like()
    inputs = random_inputs(graph, {"N": 2, "S": 5})
    wanted = interpret(graph, inputs)
    states = np.empty_like(wanted["states"])
    made = Session(graph).run(inputs, {"states": states})
    assert made["states"] is states
    assert np.array_equal(states, wanted["states"]) and np.array_equal(
        made["pooled"], wanted["pooled"]
    )


@pytest.mark.parametrize("change", [lambda a: a.astype(np.int32), lambda a: a[:1], lambda a: a.T])
def test_a_place_that_does_not_fit_is_refused(change):
    graph = bert_like()
    inputs = random_inputs(graph, {"N": 2, "S": 5})
    states = change(np.empty_like(interpret(graph, inputs)["states"]))
    with pytest.raises(InputError, match="output 'states' is int16"):
        Session(graph).run(inputs, {"states": states})
