"""Everything the verifier must reject, each with a message that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import programs
from intformer.errors import VerifyError
from intformer.ir.graph import Graph, Node, TensorType
from intformer.ir.interval import Interval, IntervalPrimitives
from intformer.ir.operators import specification
from intformer.ir.verify import storage_bytes, verify

BASES = programs.single_operator_cases() | {
    "vit_like": programs.vit_like,
    "bert_like": programs.bert_like,
}
Mutation = Callable[[Graph], None]
REJECTIONS: dict[str, tuple[str, Mutation, str]] = {}


def rejected(base: str, message: str) -> Callable[[Mutation], Mutation]:
    """Register a change to a sound program that must make it fail with ``message``."""

    def register(mutate: Mutation) -> Mutation:
        REJECTIONS[mutate.__name__] = (base, mutate, message)
        return mutate

    return register


def replace(graph: Graph, name: str, content: Any, dtype: str | None = None) -> None:
    """Give a constant other values, and the type that they have."""
    array = np.asarray(content, dtype or graph.constants[name].dtype)
    graph.constants[name] = array
    graph.types[name] = TensorType(str(array.dtype), array.shape)


def retype(graph: Graph, name: str, dtype: str, shape: tuple[int | str, ...]) -> None:
    graph.types[name] = TensorType(dtype, shape)
    if name in graph.inputs:
        graph.inputs[name] = graph.types[name]


# The graph


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
    g.nodes[0].op = "softmax"


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


# Operands


@rejected("linear-64", "has 2 operands, needs 3")
def missing_operand(g: Graph) -> None:
    g.nodes[0].inputs = g.nodes[0].inputs[:2]


@rejected("linear-64", "has 4 operands, needs 3")
def superfluous_operand(g: Graph) -> None:
    g.nodes[0].inputs = (*g.nodes[0].inputs, "bias")


@rejected("concat-int16", "has 0 operands")
def concat_of_nothing(g: Graph) -> None:
    g.nodes[0].inputs = ()


@rejected("linear-64", "x is int8, must be uint8")
def operand_of_wrong_dtype(g: Graph) -> None:
    retype(g, "x", "int8", ("N", 3, 64))


@rejected("attention-uint8", r"q has shape .*, must have rank 3")
def operand_of_wrong_rank(g: Graph) -> None:
    retype(g, "q", "uint8", ("N", 1, 5, 12))


@rejected("linear-64", "bias must be a constant")
def weights_that_are_an_input(g: Graph) -> None:
    del g.constants["bias"]
    g.inputs["bias"] = g.types["bias"]


@rejected("linear-64", "inner dimensions differ")
def matmul_mismatch(g: Graph) -> None:
    retype(g, "x", "uint8", ("N", 3, 63))


@rejected("linear-64", "bias has 1 values for 6 output channels")
def bias_of_wrong_length(g: Graph) -> None:
    replace(g, "bias", [1])


@rejected("requantize-int16-uint8", "small has|multiplier has 4 values, must have 1 or one per")
def multiplier_of_wrong_length(g: Graph) -> None:
    replace(g, "small", [1, 2, 3, 4])


@rejected("requantize-int16-uint8", "offset has 6 values")
def offset_of_wrong_length(g: Graph) -> None:
    replace(g, "offset", [1] * 6)


@rejected("add-int16", "do not broadcast")
def sum_of_unlike_shapes(g: Graph) -> None:
    retype(g, "a", "int16", ("N", 4))


@rejected("add-int16", "a_multiplier has 3 values")
def add_multiplier_of_wrong_length(g: Graph) -> None:
    replace(g, "left", [1, 2, 3])


@rejected("table-uint8", "needs 256 entries, has 255")
def short_table(g: Graph) -> None:
    replace(g, "entries", g.constants["entries"][:255])


@rejected("layer_norm-33", "channels = 32, but x has shape")
def norm_of_other_channels(g: Graph) -> None:
    g.nodes[0].attrs["channels"] = 32


@rejected("layer_norm-33", "channels = 8193, at most 8192")
def norm_of_too_many_channels(g: Graph) -> None:
    retype(g, "x", "int16", ("N", 4, 8193))
    g.nodes[0].attrs["channels"] = 8193
    for name in g.nodes[0].inputs[1:]:
        replace(g, name, [1])


@rejected("rms_norm-33", "eps = 17592186044416 must be below")
def eps_beyond_the_root(g: Graph) -> None:
    g.nodes[0].attrs["eps"] = 2**44


@rejected("embedding-int64", "10 multipliers for a table of 11 rows")
def embedding_multipliers_missing(g: Graph) -> None:
    replace(g, "factor", g.constants["factor"][:10])


@rejected("embedding-int64", r"index in \[0, 11\] reaches outside the 11 rows")
def ids_beyond_the_table(g: Graph) -> None:
    g.input_ranges["ids"] = (0, 11)


@rejected("embedding-int64", r"index in \[-1, 10\] reaches outside")
def negative_ids(g: Graph) -> None:
    g.input_ranges["ids"] = (-1, 10)


@rejected("positions-int16", "10 positions, but a table of 9 rows")
def positions_beyond_the_table(g: Graph) -> None:
    g.limits["S"] = 10


@rejected("positions-int16", "has no sequence axis")
def positions_of_a_vector(g: Graph) -> None:
    retype(g, "like", "int32", ("N",))


@rejected("attention-uint8", "heads = 5 must be positive and divide the width 12")
def heads_that_do_not_divide(g: Graph) -> None:
    g.nodes[0].attrs["heads"] = 5


@rejected("attention-uint8", "heads = 0 must be positive")
def no_heads(g: Graph) -> None:
    g.nodes[0].attrs["heads"] = 0


@rejected("attention-uint8", "must have one shape")
def keys_without_values(g: Graph) -> None:
    retype(g, "v", "uint8", ("N", 7, 12))


@rejected("attention-uint8", "must agree in batch and width")
def queries_of_another_batch(g: Graph) -> None:
    retype(g, "q", "uint8", (1, 5, 12))


@rejected("attention-masked-uint8", r"mask \[N, 1\] must be \[N, S\]")
def mask_that_would_broadcast(g: Graph) -> None:
    retype(g, "mask", "uint8", ("N", 1))


@rejected("attention-masked-uint8", "a masked key would keep a weight")
def mask_without_effect(g: Graph) -> None:
    g.nodes[0].attrs["multiplier"] = 1


@rejected("patches-(3, 3)-(1, 1)-(1, 1)", r"size = \(8, 8\), but x has shape")
def patches_of_another_size(g: Graph) -> None:
    g.nodes[0].attrs["size"] = (8, 8)


@rejected("patches-(3, 3)-(1, 1)-(1, 1)", "pad has 1 values for 2 channels")
def pad_of_wrong_length(g: Graph) -> None:
    replace(g, "pad", [0])


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", "larger than the image")
def kernel_larger_than_the_image(g: Graph) -> None:
    g.nodes[0].attrs["kernel"] = (10, 1)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", "covers more than 4096 positions")
def kernel_that_would_take_forever(g: Graph) -> None:
    g.nodes[0].attrs["kernel"] = (30000, 30000)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", r"stride = \(0, 1\) must be two integers of at least 1")
def zero_stride(g: Graph) -> None:
    g.nodes[0].attrs["stride"] = (0, 1)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", r"padding = \(-1, 0\) must be two integers of at least 0")
def negative_padding(g: Graph) -> None:
    g.nodes[0].attrs["padding"] = (-1, 0)


@rejected("patches-(1, 1)-(1, 1)-(0, 0)", r"kernel = \(1,\) must be two integers")
def kernel_of_one_dimension(g: Graph) -> None:
    g.nodes[0].attrs["kernel"] = (1,)


@rejected("patches-(3, 3)-(1, 1)-(1, 1)", "must be smaller than kernel")
def padding_of_whole_windows(g: Graph) -> None:
    g.nodes[0].attrs["padding"] = (3, 1)


@rejected("concat-int16", "the other dimensions differ")
def concat_mismatch(g: Graph) -> None:
    retype(g, "x1", "int16", ("N", 4, 2))


@rejected("concat-int16", "concat needs operands of one dtype")
def concat_of_unlike_types(g: Graph) -> None:
    retype(g, "x1", "int8", ("N", 3, 2))


@rejected("concat-int16", r"axis 3 is outside \[N, 3, 1\]")
def concat_along_no_axis(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 3


@rejected("sum1-int16", r"axis -4 is outside")
def sum_along_no_axis(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = -4


@rejected("argmax1-int16", r"axis 3 is outside")
def argmax_along_no_axis(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 3


@rejected("slice-int16", "slice 1:7 is outside dimension 2")
def slice_beyond_the_end(g: Graph) -> None:
    g.nodes[0].attrs["stop"] = 7


@rejected("slice-int16", "only the first element of symbolic dimension N")
def slice_of_the_batch(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 0


@rejected("reshape-int16", "cannot reshape")
def reshape_of_another_size(g: Graph) -> None:
    g.nodes[0].attrs["shape"] = (0, 5, 5)


@rejected("transpose-int16", "is not a permutation")
def transpose_of_repeated_axes(g: Graph) -> None:
    g.nodes[0].attrs["perm"] = (0, 1, 1)


@rejected("repeat_batch-int16", "needs a leading dimension of 1")
def repeat_of_many(g: Graph) -> None:
    replace(g, "row", np.ones((2, 2, 5)))


# Attributes


@rejected("requantize-int16-uint8", r"lacks \['shift'\]")
def missing_attribute(g: Graph) -> None:
    del g.nodes[0].attrs["shift"]


@rejected("requantize-int16-uint8", r"has unknown \['axis'\]")
def unknown_attribute(g: Graph) -> None:
    g.nodes[0].attrs["axis"] = 1


@rejected("requantize-int16-uint8", r"shift = 63 must be an integer in \[1, 62\]")
def shift_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 63


@rejected("requantize-int16-uint8", "shift = -1 must be")
def negative_shift(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = -1


@rejected("requantize-int16-uint8", r"shift = 18.0 must be an integer")
def float_attribute(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 18.0


@rejected("requantize-int16-uint8", "shift = True must be an integer")
def boolean_attribute(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = True


@rejected("requantize-int16-uint8", "dtype 'float32' is not one of")
def float_result(g: Graph) -> None:
    g.nodes[0].attrs["dtype"] = "float32"


@rejected("reshape-int16", "must be of type tuple")
def shape_that_is_a_number(g: Graph) -> None:
    g.nodes[0].attrs["shape"] = 24


@rejected("reshape-int16", "must hold integers only")
def shape_of_floats(g: Graph) -> None:
    g.nodes[0].attrs["shape"] = (0, 24.0)  # type: ignore[assignment]


@rejected("attention-uint8", r"gain = 0 must be an integer in \[1, ")
def zero_gain(g: Graph) -> None:
    g.nodes[0].attrs["gain"] = 0


# Ranges


@rejected("linear-2000", r"a value in .* does not fit int32")
def accumulator_overflow(g: Graph) -> None:
    replace(g, "weight", np.full((70_000, 6), 127))
    retype(g, "x", "uint8", ("N", 3, 70_000))


@rejected("linear-64", "does not fit int32")
def bias_that_overflows_the_accumulator(g: Graph) -> None:
    replace(g, "bias", [2**31 - 1] * 6)


@rejected("linear16-1", "does not fit int32")
def wide_accumulator_overflow(g: Graph) -> None:
    replace(g, "weight", np.full((600, 6), 127))
    retype(g, "x", "int16", ("N", 3, 600))


@rejected("requantize-int32-uint8", "does not fit int32")
def multiplier_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 30


@rejected("requantize-int32-uint8", r"must be below 2\^62")
def offset_too_large(g: Graph) -> None:
    replace(g, "narrow.offset", [2**62])


@rejected("requantize-int32-uint8", "does not fit int64")
def offset_beyond_64_bits(g: Graph) -> None:
    replace(g, "narrow.offset", [2**63 - 1])


@rejected("add-int32", r"does not fit int32")
def sum_that_does_not_fit(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 2


@rejected("sum-int32", "does not fit int32")
def sum_of_too_many(g: Graph) -> None:
    g.input_ranges["x"] = (0, 2**30)


@rejected("attention-uint8", "does not fit int32")
def exponent_that_overflows(g: Graph) -> None:
    g.nodes[0].attrs["multiplier"] = 2**20


@rejected("attention-uint8", r"must be below 2\^62|does not fit int64")
def attention_offset_too_large(g: Graph) -> None:
    g.nodes[0].attrs["offset"] = 2**62


@rejected("layer_norm-33", "does not fit int32")
def norm_gain_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 1
    replace(g, g.nodes[0].inputs[1], [2**31 - 1])


@rejected("embedding-int64", "does not fit int32")
def embedding_multiplier_too_large(g: Graph) -> None:
    g.nodes[0].attrs["shift"] = 1


@pytest.mark.parametrize("name", REJECTIONS)
def test_rejections(name: str) -> None:
    base, mutate, message = REJECTIONS[name]
    graph = BASES[base]()
    verify(graph)
    mutate(graph)
    with pytest.raises(VerifyError, match=message) as caught:
        verify(graph)
    assert "\n" not in str(caught.value)


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
