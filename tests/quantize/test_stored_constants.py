"""Constants that a program computes from shorter ones are the very integers they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intformer.ir.graph import Array, Graph, TensorType
from intformer.ir.operators import evaluate
from intformer.models.transformer import sinusoids
from intformer.quantize.lowering.context import Context
from intformer.quantize.lowering.stored import pair_bias, position_table
from intformer.quantize.params import Affine, Decisions
from intformer.quantize.related import relate_multipliers
from intformer.reference.primitives import NumpyPrimitives
from intformer.runtime.stored import with_computed_constants


def context() -> Context:
    return Context(Graph("float"), Decisions({}, {}, {}), None)


def content(graph: Graph, value: str) -> Array:
    """What ``value``, a constant or computed of constants, is."""
    return with_computed_constants(graph).constants[value]


def window_bias(windows: int, heads: int, side: int, seed: int) -> Array:
    """A bias per relative position and head; windows behind the first hide some pairs."""
    rng = np.random.default_rng(seed)
    table = rng.integers(-9000, 9000, (2 * side - 1, 2 * side - 1, heads))
    place = np.stack(np.meshgrid(range(side), range(side), indexing="ij"), -1).reshape(-1, 2)
    away = place[:, None] - place[None] + side - 1
    bias = table[away[..., 0], away[..., 1]].transpose(2, 0, 1)[None].repeat(windows, 0)
    apart = (place[:, None, 0] < side // 2) != (place[None, :, 0] < side // 2)
    bias[1:] -= 2_150_000 * apart
    return bias.astype(np.int32)


@pytest.mark.parametrize("windows", [1, 3])
def test_a_window_bias_is_its_relations(windows: int) -> None:
    bias = window_bias(windows, 4, 5, 0)
    c = context()
    value = pair_bias(c, bias, "attn", "attn.bias")
    (node,) = c.graph.nodes
    assert node.op == "pair_bias" and c.graph.types[value] == TensorType("int32", bias.shape)
    found = content(c.graph, value)
    assert found.dtype == np.int32 and (found == bias).all()
    assert sum(array.nbytes for array in c.graph.constants.values()) < bias.nbytes / 4


def test_layers_of_one_geometry_have_equal_relations() -> None:
    c = context()
    for layer in range(2):
        pair_bias(c, window_bias(2, 3, 4, layer), "attn", f"{layer}.bias")
    first, second = (c.graph.constants[node.inputs[1]] for node in c.graph)
    assert (first == second).all()


def test_a_bias_without_relations_stays_what_it_is() -> None:
    bias = np.random.default_rng(0).integers(-(2**20), 2**20, (2, 3, 6, 6)).astype(np.int32)
    c = context()
    assert pair_bias(c, bias, "attn", "bias") == "bias" and not c.graph.nodes
    assert c.graph.constants["bias"] is bias


@pytest.mark.parametrize("rows", [64, 100, 256])
@pytest.mark.parametrize("largest", [1.0, 3.7])
def test_a_table_of_sines_is_sums_of_angles(rows: int, largest: float) -> None:
    """float32 sines, as models compute them, at any scale."""
    real = largest * sinusoids(rows, 32).double().numpy()
    table = Affine(largest / 26_214, 0, "int16").quantize(real).astype(np.int16)
    c = context()
    value = position_table(c, table, real, "embed", "positions")
    (node,) = c.graph.nodes
    assert node.op == "turned_positions"
    found = content(c.graph, value)
    assert found.dtype == np.int16 and (found == table).all()
    assert sum(array.nbytes for array in c.graph.constants.values()) < 0.6 * table.nbytes


def test_learned_positions_stay_what_they_are() -> None:
    torch.manual_seed(0)
    real = torch.randn(64, 32).double().numpy()
    table = np.round(real * 5000).astype(np.int16)
    c = context()
    assert position_table(c, table, real, "embed", "positions") == "positions"
    assert not c.graph.nodes and (c.graph.constants["positions"] == table).all()


def tied(own: Array, source: Array) -> Graph:
    """An embedding and a projection of one matrix, multipliers as given."""
    graph, words = Graph("integer", limits={"N": 4}), len(source)
    graph.inputs["ids"] = graph.types["ids"] = TensorType("int64", ("N",))
    graph.input_ranges["ids"] = (0, words - 1)
    graph.add_constant("weight", np.ones((3, words), np.int8))
    for name, array in {"own": own, "source": source}.items():
        graph.add_constant(name, array)
    graph.add_constant("bias", np.zeros(words, np.int8))
    graph.add_constant("offset", np.zeros(1, np.int64))
    wide = TensorType("int16", ("N", 3))
    x = graph.add_node(
        "tied_embedding", ("ids", "weight", "own"), wide, output="x", shift=20, dtype="int16"
    )
    graph.outputs["x"] = x
    graph.inputs["h"] = graph.types["h"] = TensorType("uint8", ("N", 3))
    kind = TensorType("int32", ("N", words))
    acc = graph.add_node("linear", ("h", "weight", "bias"), kind, x_zero=0)
    logits = TensorType("int16", ("N", words))
    graph.outputs["y"] = graph.add_node(
        "requantize", (acc, "source", "offset"), logits, shift=30, dtype="int16"
    )
    return graph


@pytest.mark.parametrize("ratio", [0.001, 0.37, 1.0, 40.0])
def test_related_multipliers_are_those_they_replace(ratio: float) -> None:
    scales = np.random.default_rng(1).uniform(0.1, 1, 500)
    source = np.round(scales * 2**24).astype(np.int32)
    own = np.round(scales * ratio * 2**24).astype(np.int32)
    graph = tied(own, source)
    relate_multipliers(graph)
    node = next(node for node in graph if node.op == "related_multiplier")
    operands = [graph.constants[name] for name in node.inputs]
    assert "own" not in graph.constants and operands[1].dtype == np.int8
    assert (evaluate(NumpyPrimitives(), node, operands) == own).all()
    assert graph.producers()["x"].inputs[2] == node.output


def test_multipliers_of_their_own_stay() -> None:
    rng = np.random.default_rng(1)
    own, source = (rng.integers(2**20, 2**24, 500).astype(np.int32) for _ in range(2))
    graph = tied(own, source)
    relate_multipliers(graph)
    assert [node.op for node in graph] == ["tied_embedding", "linear", "requantize"]
    assert (graph.constants["own"] == own).all()
