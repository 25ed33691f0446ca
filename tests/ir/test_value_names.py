"""Names made of paths and operators: unique, readable, and the same again."""

from __future__ import annotations

import copy
import time

import pytest

import programs
from intformer.ir.graph import Graph, Node, TensorType
from intformer.ir.value_names import readable_names, rename
from intformer.ir.verify import verify

PROGRAMS = {"vit": programs.vit_like, "bert": programs.bert_like}


@pytest.mark.parametrize("name", [*PROGRAMS, *programs.single_operator_cases()])
def test_names_are_unique_and_stay(name: str) -> None:
    graph = (PROGRAMS | programs.single_operator_cases())[name]()
    names = readable_names(graph)
    assert set(names) == set(graph.types) and len(set(names.values())) == len(names)
    renamed = copy.deepcopy(graph)
    rename(renamed, names)
    verify(renamed)
    assert all(old == new for old, new in readable_names(renamed).items())


def test_names_say_where_values_come_from() -> None:
    graph = programs.vit_like()
    names = set(readable_names(graph).values())
    assert {"blocks.0.q.weight", "blocks.0.q.bias", "blocks.0.q.linear"} <= names
    assert {"blocks.0.q.multiplier", "blocks.0.q.requantize", "pixels"} <= names


def test_an_input_keeps_its_name_and_others_go_round_it() -> None:
    graph = Graph("integer", outputs={"y": "v"})
    graph.inputs["sum"] = graph.types["sum"] = TensorType("int32", (2, 2))
    for value, source in (("u", "sum"), ("v", "u")):
        graph.nodes.append(Node("sum", (source,), (value,), {"axis": 0}))
        graph.types[value] = TensorType("int32", (1, 2))
    assert readable_names(graph) == {"sum": "sum", "u": "sum_2", "v": "sum_3"}
    assert readable_names(graph, {"sum": "x"}) == {"sum": "x", "u": "sum", "v": "sum_2"}


def test_thousands_of_equal_paths_take_no_time() -> None:
    """A hostile file may give all nodes one path."""
    graph = Graph("integer")
    graph.inputs["x"] = TensorType("int32", (2, 2))
    graph.nodes = [Node("sum", ("x",), (f"{i}",), {"axis": 0}, "a") for i in range(20_000)]
    start = time.monotonic()
    assert len(set(readable_names(graph).values())) == 20_001
    assert time.monotonic() - start < 5
