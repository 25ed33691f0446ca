"""Rows that nothing reads are not computed, and what is read has the bytes of the reference."""

from __future__ import annotations

import numpy as np
import pytest

from intformer.ir.graph import Graph, Node
from intformer.ir.text import dump
from intformer.reference import interpret
from intformer.runtime import Session
from intformer.runtime.needed import only_needed_rows
from programs import Builder, block, random_inputs
from published_programs import published_attributes

TOKENS, WIDTH, HEADS = 9, 16, 2


def tail(
    spans: list[tuple[int, int]],
    *,
    norm: str = "layer_norm",
    kind: str = "attention",
    masked: bool = False,
    tokens: int | str = TOKENS,
) -> Graph:
    """x int16 [N,T,16] -> two blocks, a normalisation and a part of it for each span."""
    build = Builder(3, limits={"N": 8, "S": 40})
    x = build.input("x", "int16", ("N", tokens, WIDTH))
    mask = [build.input("mask", "uint8", ("N", tokens), (0, 1))] if masked else []
    for index in range(2):
        x = block(build, x, *mask, heads=HEADS, norm=norm, name=f"blocks.{index}")
    if kind != "attention":
        attrs = published_attributes(kind, HEADS)
        parts = [build.norm(x, f"last.{part}") for part in "qkv"]
        x = build.node(f"{kind}_attention", *parts, *mask, **attrs)
        x = build.requantize(x, 30.0, "int16", "raise")
    x = build.norm(x, "norm", norm)
    for index, (start, stop) in enumerate(spans):
        part = build.node("slice", x, axis=1, start=start, stop=stop)
        build.output(f"y{index}", build.linear(part, 5, f"head{index}"))
    return build.graph


def assert_same(graph: Graph, **sizes: int) -> None:
    inputs = random_inputs(graph, sizes)
    wanted = interpret(graph, inputs)
    for threads in (1, 3):
        found = Session(graph, threads=threads).run(inputs)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize(
    "spans", [[(0, 1)], [(8, 9)], [(0, 1), (1, 2)], [(2, 5), (4, 7)], [(1, 9)], [(0, 9)]]
)
def test_parts_of_the_tokens(
    spans: list[tuple[int, int]], norm: str, masked: bool, batch: int
) -> None:
    assert_same(tail(spans, norm=norm, masked=masked), N=batch)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["shift", "quadratic", "log2"])
def test_attention_of_other_papers(kind: str, masked: bool) -> None:
    assert_same(tail([(3, 5)], kind=kind, masked=masked), N=2)


@pytest.mark.parametrize("length", [1, 2, 33])
def test_the_first_of_any_number_of_tokens(length: int) -> None:
    assert_same(tail([(0, 1)], masked=True, tokens="S"), N=3, S=length)


def rows_of(graph: Graph) -> dict[str, int]:
    """Rows of each linear layer and attention by module."""
    return {
        f"{node.name}.{node.op}": graph.types[node.output].shape[1]
        for node in graph
        if node.op in ("linear", "attention")
    }


def test_only_keys_and_values_of_the_last_block_are_whole() -> None:
    graph = tail([(0, 1)])
    before = dump(graph)
    found = rows_of(only_needed_rows(graph))
    short = {name for name, rows in found.items() if rows == 1}
    last = ("q.linear", "attn.attention", "proj.linear", "fc1.linear", "fc2.linear")
    assert short == {f"blocks.1.{name}" for name in last} | {"head0.linear"}
    assert all(rows == TOKENS for name, rows in found.items() if name not in short)
    assert dump(graph) == before


def test_no_slice_is_left_between_a_linear_layer_and_its_residual() -> None:
    graph = only_needed_rows(tail([(0, 1)]))
    made = graph.producers()
    cut = [node for node in graph if node.op == "slice"]
    assert {made[node.inputs[0]].op for node in cut} == {"layer_norm", "add"}
    assert len(cut) == 2  # the queries' input and the residual


def test_what_is_read_whole_stays_whole() -> None:
    """As an output of the program, or by anything that is no slice."""
    graph = tail([(0, 1)])
    (norm,) = [node for node in graph if node.name == "norm"]
    graph.outputs["states"] = norm.output
    assert rows_of(only_needed_rows(graph)) == rows_of(graph)
    assert_same(graph, N=2)


def test_a_sum_of_a_broadcast_value() -> None:
    """The broadcast operand has one row and keeps it; channels are never cut."""
    build = Builder(0)
    x = build.input("x", "int16", ("N", 6, 8))
    one = build.input("one", "int16", ("N", 1, 8))
    places = build.random("places", "int16", (6, 8), -3000, 3000)
    y = build.add(build.add(x, one, (1.0, 0.5), "a"), places, (1.0, 0.5), "b")
    rows = build.node("slice", y, axis=1, start=2, stop=4)
    build.output("rows", rows)
    channels = build.node("slice", build.add(x, one, (1.0, 0.3), "c"), axis=2, start=1, stop=4)
    build.output("channels", channels)
    cut = only_needed_rows(build.graph)
    assert [str(cut.types[cut.outputs[n]]) for n in cut.outputs] == [
        "int16[N, 2, 8]", "int16[N, 6, 3]",
    ]  # fmt: skip
    by_name: dict[str, Node] = {node.name: node for node in cut if node.op == "add"}
    assert cut.types[by_name["a"].output].shape == ("N", 2, 8)
    assert cut.types[by_name["c"].output].shape == ("N", 6, 8)
    assert_same(build.graph, N=2)
