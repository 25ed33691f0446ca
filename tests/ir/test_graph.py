"""The graph itself and its text."""

from __future__ import annotations

import numpy as np

import programs
from intformer.ir.graph import Graph, TensorType
from intformer.ir.text import dump
from intformer.ir.verify import verify


def test_names_stay_unique() -> None:
    graph = Graph("integer")
    names = [graph.add_constant("w", np.arange(3)) for _ in range(3)]
    assert names == ["w", "w_2", "w_3"]
    kind = TensorType("int32", (3,))
    values = [graph.add_node("sum", ("w",), kind, name="pool", axis=0) for _ in range(2)]
    assert values == ["pool.sum", "pool.sum_2"]


def test_producers_and_consumers() -> None:
    graph = programs.vit_like()
    producers, consumers = graph.producers(), graph.consumers()
    for node in graph:
        assert producers[node.output] is node
        assert all(node in consumers[value] for value in node.inputs)


def test_prune_keeps_what_the_outputs_need() -> None:
    graph = programs.vit_like()
    before = len(graph.nodes)
    del graph.outputs["pooled"], graph.outputs["label"]
    graph.prune()
    assert 0 < len(graph.nodes) < before
    assert not any(node.op in ("argmax", "sum") for node in graph)
    assert not any(name.startswith(("wide", "pool")) for name in graph.constants)
    used = {value for node in graph for value in node.inputs}
    assert set(graph.constants) <= used
    verify(graph)


def test_the_text_shows_every_value_once() -> None:
    graph = programs.bert_like()
    lines = dump(graph).splitlines()
    assert lines[0] == "graph integer (N <= 256, S <= 20)"
    assert "  input ids: int64[N, S] in [0, 49]" in lines
    for name, kind in graph.types.items():
        assert sum(f"{name}: {kind}" in line for line in lines) == 1, name
    assert lines[-1] == "  output pooled = sum"
    attention = next(line for line in lines if "= attention(" in line)
    assert attention.endswith("# layer.0.attn") and "heads=3" in attention
