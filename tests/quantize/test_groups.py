"""Which values share a scale, and in which forms each is needed."""

from __future__ import annotations

from small_models import encoder, graph_of

from intformer.ir.graph import Graph, TensorType
from intformer.quantize.groups import needed_forms, share_scales


def chain(*steps: tuple[str, tuple[str, ...], str]) -> Graph:
    """A float graph of (operator, inputs, output); types play no part here."""
    graph = Graph("float", inputs={"x": TensorType("float32", ("N", 4))})
    kind = TensorType("float32", ("N", 4))
    for name in ("x", "w", "c"):
        graph.types[name] = kind
    for op, inputs, output in steps:
        graph.add_node(op, inputs, kind, output=output)
    graph.outputs = {"out": steps[-1][2]}
    return graph


def test_moves_share_the_scale_of_what_they_move() -> None:
    graph = chain(
        ("linear", ("x", "w"), "a"),
        ("reshape", ("a",), "b"),
        ("transpose", ("b",), "d"),
        ("concat", ("d", "c"), "e"),
        ("slice", ("e",), "f"),
        ("gelu", ("f",), "g"),
    )
    roots = share_scales(graph)
    assert len({roots[name] for name in "abdecf"}) == 1
    assert roots["g"] != roots["f"] and roots["x"] != roots["a"]


def test_forms_are_carried_back_through_moves() -> None:
    graph = chain(
        ("add", ("x", "c"), "a"),
        ("reshape", ("a",), "b"),
        ("linear", ("b", "w"), "d"),
        ("add", ("a", "d"), "e"),
    )
    forms = needed_forms(graph, frozenset())
    assert forms["a"] == {"narrow", "wide"}
    assert forms["b"] == {"narrow"} and forms["d"] == {"wide"}
    assert forms["e"] == {"wide"} and forms["w"] == set()


def test_layers_kept_at_16_bits_ask_for_the_wide_form() -> None:
    graph = chain(("layer_norm", ("x", "w", "c"), "a"), ("linear", ("a", "w"), "b"))
    assert needed_forms(graph, frozenset())["a"] == {"narrow"}
    assert needed_forms(graph, frozenset({"b"}))["a"] == {"wide"}


def test_a_transformer_block() -> None:
    graph = graph_of(encoder())
    forms = needed_forms(graph, frozenset())
    for node in graph:
        if node.op == "attention":
            assert all(forms[value] == {"narrow"} for value in node.inputs)
        if node.op == "layer_norm":
            assert "wide" in forms[node.inputs[0]]
        if node.op in ("linear", "gelu"):
            assert "narrow" in forms[node.inputs[0]]
