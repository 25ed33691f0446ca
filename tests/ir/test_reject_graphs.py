"""Graphs, types and constants that the verifier refuses."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import Rejections, replace, retype

from intformer.ir.graph import Graph, TensorType

rejected = Rejections()


@rejected("linear-64", "stage is 'float'")
def float_stage(g: Graph) -> None:
    g.stage = "float"


@rejected("linear-64", "no outputs")
def no_outputs(g: Graph) -> None:
    g.outputs.clear()


@rejected("linear-64", "output 'z' refers to 'nothing'")
def dangling_output(g: Graph) -> None:
    g.outputs["z"] = "nothing"


@rejected("linear-64", "'nowhere' is used before it is defined")
def unknown_operand(g: Graph) -> None:
    g.nodes[0].inputs = ("nowhere", *g.nodes[0].inputs[1:])


@rejected("vit_like", "used before it is defined")
def nodes_out_of_order(g: Graph) -> None:
    g.nodes.reverse()


@rejected("linear-64", r"used before it is defined \(or in a cycle\)")
def node_that_reads_itself(g: Graph) -> None:
    g.nodes[0].inputs = (g.nodes[0].output, *g.nodes[0].inputs[1:])


@rejected("linear-64", "'linear' is defined twice")
def node_repeated(g: Graph) -> None:
    g.nodes.append(g.nodes[0])


@rejected("linear-64", "'weight' is defined twice")
def node_that_overwrites_a_constant(g: Graph) -> None:
    g.nodes[0].outputs = ("weight",)


@rejected("linear-64", "both an input and a constant")
def input_that_is_a_constant(g: Graph) -> None:
    g.inputs["bias"] = g.types["bias"]


@rejected("linear-64", "has 0 outputs")
def node_without_output(g: Graph) -> None:
    g.nodes[0].outputs = ()


@rejected("linear-64", "has 2 outputs")
def node_with_two_outputs(g: Graph) -> None:
    g.nodes[0].outputs = ("linear", "more")


@rejected("linear-64", "unknown operator")
def unknown_operator(g: Graph) -> None:
    g.nodes[0].op = "sigmoid"


@rejected("bert_like", "limit -3 must be a positive integer")
def negative_limit(g: Graph) -> None:
    g.limits["S"] = -3


@rejected("attention-uint8", "dimension S needs a limit")
def unlimited_symbolic_sum(g: Graph) -> None:
    g.limits.clear()


@rejected("attention-uint8", "does not fit")
def sum_over_too_long_a_sequence(g: Graph) -> None:
    g.limits["S"] = 2**20


# Types and constants


@rejected("linear-64", "constant 'bias' is float32")
def float_constant(g: Graph) -> None:
    replace(g, "bias", g.constants["bias"], "float32")


@rejected("linear-64", "constant 'bias' is float16")
def half_constant(g: Graph) -> None:
    replace(g, "bias", np.zeros(6), "float16")


@rejected("linear-64", "constant 'weight' is empty")
def empty_constant(g: Graph) -> None:
    replace(g, "weight", np.zeros((0, 6)))


@rejected("linear-64", r"'weight' is declared as int8\[6, 64\], but it is int8\[64, 6\]")
def constant_of_another_type(g: Graph) -> None:
    retype(g, "weight", "int8", (6, 64))


@rejected("linear-64", "'x' is declared as")
def input_of_another_type(g: Graph) -> None:
    g.types["x"] = TensorType("int8", ("N", 3, 64))


@rejected("linear-64", "'x' is float32: only integers")
def float_input(g: Graph) -> None:
    retype(g, "x", "float32", ("N", 3, 64))


@rejected("linear-64", r"declared as int32\[N, 3, 7\], but it computes int32\[N, 3, 6\]")
def wrong_declared_shape(g: Graph) -> None:
    retype(g, "linear", "int32", ("N", 3, 7))


@rejected("linear-64", "declared as int16.*, but it computes int32")
def wrong_declared_dtype(g: Graph) -> None:
    retype(g, "linear", "int16", ("N", 3, 6))


@rejected("linear-64", "declared as None")
def undeclared_value(g: Graph) -> None:
    del g.types["linear"]


@rejected("linear-64", "dimensions are at least 1")
def empty_dimension(g: Graph) -> None:
    retype(g, "x", "uint8", ("N", 0, 64))


@rejected("linear-64", "rank 9, at most 8")
def too_many_dimensions(g: Graph) -> None:
    retype(g, "x", "uint8", (1,) * 8 + (64,))


@rejected("linear-64", r"more than 2\^31 elements")
def huge_shape(g: Graph) -> None:
    retype(g, "x", "uint8", ("N", 2**40, 64))


@rejected("embedding-int64", r"range \[0, 9223372036854775808\] is not within int64")
def input_range_beyond_its_type(g: Graph) -> None:
    g.input_ranges["ids"] = (0, 2**63)


@rejected("embedding-int64", r"range \[5, 4\]")
def input_range_reversed(g: Graph) -> None:
    g.input_ranges["ids"] = (5, 4)


@pytest.mark.parametrize("name", rejected)
def test_rejections(name: str) -> None:
    rejected.check(name)
