"""Proofs of sound programs, and what the verifier says of unsound ones."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from rejections import BASES, replace

import programs
from intformer.errors import VerifyError
from intformer.ir.graph import Attribute, Graph, Node, TensorType
from intformer.ir.interval import Interval, IntervalPrimitives
from intformer.ir.operators import specification
from intformer.ir.verify import storage_bytes, verify


@pytest.mark.parametrize("name", BASES)
def test_sound_programs_are_accepted(name: str) -> None:
    proof = verify(BASES[name]())
    assert proof.accumulator_bits <= 64


def test_errors_name_the_layer() -> None:
    graph = programs.vit_like()
    node = next(n for n in graph if n.op == "linear" and n.name == "blocks.0.fc1")
    replace(graph, node.inputs[2], graph.constants[node.inputs[2]].astype(np.int64) * 0 + 2**31 - 1)
    with pytest.raises(VerifyError, match=r"linear at 'blocks\.0\.fc1': "):
        verify(graph)


def test_a_proof_holds_every_value() -> None:
    graph = programs.bert_like()
    ranges = verify(graph).ranges
    assert set(ranges) == set(graph.types)
    assert ranges["mask"] == (0, 1)
    assert ranges["ids"] == (0, 49)


def test_storage_is_the_size_of_the_constants() -> None:
    graph = programs.single_operator_cases()["linear-64"]()
    assert storage_bytes(graph) == 64 * 6 + 6 * 4


def test_constants_nobody_reads_have_ranges_too() -> None:
    graph = programs.single_operator_cases()["linear-64"]()
    graph.add_constant("unread", np.array([-3, 5], np.int8))
    assert verify(graph).ranges["unread"] == (-3, 5)


def test_constants_are_not_multiplied_out() -> None:
    """Broadcast against each other, two columns of a file would make a table of gigabytes."""
    graph = Graph("integer", outputs={"y": "y"})
    one = {"a": (2**14, 1), "b": (1, 2**14), "m": (1,), "offset": (1,)}
    for name, shape in one.items():
        graph.add_constant(name, np.ones(shape, np.int64 if name == "offset" else np.int32))
    attrs: dict[str, Attribute] = {"shift": 1, "dtype": "int16"}
    graph.nodes.append(Node("add", ("a", "b", "m", "m", "offset"), ("y",), attrs))
    graph.types["y"] = TensorType("int16", (2**14, 2**14))
    tracemalloc.start()
    verify(graph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_an_output_may_be_an_input() -> None:
    graph = Graph("integer", inputs={"x": TensorType("uint8", ("N", 2))}, outputs={"y": "x"})
    graph.types["x"] = graph.inputs["x"]
    assert verify(graph).ranges == {"x": (0, 255)}


def test_a_zero_divisor_cannot_be_proved_away() -> None:
    """No operator exposes its divisor; the primitive refuses one that may be zero."""
    xp = IntervalPrimitives({})
    with pytest.raises(VerifyError, match=r"a divisor in \[0, 5\] may not be positive"):
        xp.floor_divide(Interval("int32", (), 0, 9), Interval("int32", (), 0, 5))
    with pytest.raises(VerifyError, match=r"a dividend in \[-1, 9\] may be negative"):
        xp.floor_divide(Interval("int32", (), -1, 9), Interval("int32", (), 1, 5))


def test_minimum_is_for_int32_alone() -> None:
    with pytest.raises(VerifyError, match="defined on int32, got int64"):
        IntervalPrimitives({}).minimum(Interval("int64", (), 0, 9), 3)


def test_a_node_keeps_its_operands_types_apart() -> None:
    with pytest.raises(VerifyError, match="dtypes int32 and int64 cannot mix"):
        Interval("int32", (), 0, 9) + Interval("int64", (), 0, 9)


def test_specification_is_independent_of_the_graph() -> None:
    with pytest.raises(VerifyError, match="sum at 'pool': lacks"):
        specification(Node("sum", ("x",), ("y",), {}, "pool"))


@pytest.mark.parametrize(("name", "bits"), [("linear-64", 22), ("concat-int16", 16)])
def test_bits_are_those_of_computed_values(name: str, bits: int) -> None:
    """64 products of 255 and -128: 21 bits and a sign."""
    assert verify(BASES[name]()).accumulator_bits == bits
