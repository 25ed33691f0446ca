"""The saved program computes in ONNX Runtime exactly what the reference computes, in both forms."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime
import pytest

import sequence_programs
from intformer import artifact
from intformer.ir.graph import Array, Graph
from intformer.ir.operators import OPERATORS
from intformer.ir.verify import verify
from intformer.reference import interpret
from programs import bert_like, random_inputs, single_operator_cases, vit_like
from published_programs import published_like, published_windows

MODELS = {
    "vit": vit_like,
    "bert": bert_like,
    "published": published_like,
    "windows": published_windows,
}
CASES = MODELS | single_operator_cases()


@lru_cache
def program(case: str) -> Graph:
    graph = CASES[case]()
    verify(graph)
    return graph


@lru_cache
def session(case: str, flat: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = artifact.to_onnx(program(case), flat=flat)
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def assert_same(graph: Graph, found: list[Array], wanted: Mapping[str, Array]) -> None:
    for (name, expected), got in zip(wanted.items(), found, strict=True):
        assert got.dtype == expected.dtype == graph.types[graph.outputs[name]].dtype
        assert got.shape == expected.shape
        assert (got == expected).all(), name


@pytest.mark.parametrize("flat", [False, True], ids=["structured", "flat"])
@pytest.mark.parametrize("case", CASES)
def test_onnx_runtime_equals_reference(case: str, flat: bool) -> None:
    graph = program(case)
    for seed, sizes in enumerate(({"N": 1, "S": 1}, {"N": 3, "S": 9}, {"N": 8, "S": 5})):
        inputs = random_inputs(graph, sizes, seed)
        wanted = interpret(graph, inputs)
        found = session(case, flat).run(list(wanted), inputs)
        assert_same(graph, found, wanted)


def test_programs_cover_every_operator() -> None:
    sequences = (lambda build=build: build(0) for build in sequence_programs.PROGRAMS.values())
    alone = single_operator_cases().values()
    builders = (*MODELS.values(), *sequences, *alone)
    covered = {node.op for build in builders for node in build()}
    assert covered == set(OPERATORS)


@pytest.mark.parametrize("case", MODELS)
def test_outputs_are_not_degenerate(case: str) -> None:
    graph = program(case)
    outputs = interpret(graph, random_inputs(graph, {"N": 4, "S": 9}))
    for array in outputs.values():
        assert len(np.unique(array)) > 3 or array.size < 5


@pytest.mark.parametrize("flat", [False, True], ids=["structured", "flat"])
@pytest.mark.parametrize("case", MODELS)
def test_model_passes_the_onnx_checker(case: str, flat: bool) -> None:
    onnx.checker.check_model(artifact.to_onnx(program(case), flat=flat), full_check=True)
