"""Corruptions of the graph, its calls and its functions."""

from __future__ import annotations

import numpy as np
from corruptions import attribute, call, corruption, initializer
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

# Structure


@corruption("is used before it is defined (or in a cycle)")
def cycle(model: ModelProto) -> None:
    call(model, "reshape").input[0] = call(model, "attention").output[0]


@corruption("is used before it is defined (or in a cycle)")
def node_that_reads_itself(model: ModelProto) -> None:
    node = call(model, "concat")
    node.input[0] = node.output[0]


@corruption("is defined twice")
def value_defined_twice(model: ModelProto) -> None:
    call(model, "linear").output[0] = call(model, "patches").output[0]


@corruption("is defined twice")
def input_that_is_a_constant(model: ModelProto) -> None:
    model.graph.initializer[0].name = "pixels"


@corruption("linear at 'stem': input 'c' is neither an input, a constant nor a result")
def missing_constant(model: ModelProto) -> None:
    model.graph.initializer.remove(initializer(model, "stem.bias"))


@corruption("output 'nothing' is not computed by any node")
def output_without_producer(model: ModelProto) -> None:
    model.graph.output[0].name = "nothing"


@corruption("must have 1 to 1024 printable characters")
def empty_name(model: ModelProto) -> None:
    model.graph.input[0].name = ""


@corruption("must have 1 to 1024 printable characters")
def control_characters_in_a_name(model: ModelProto) -> None:
    model.graph.initializer[0].name = "x\x1b[2J"


@corruption("has 2 outputs, must have one")
def second_output(model: ModelProto) -> None:
    call(model, "linear").output.append("more")


@corruption("the program has no outputs")
def no_outputs(model: ModelProto) -> None:
    del model.graph.output[:]


@corruption("has 2 operands, needs 3")
def missing_operand(model: ModelProto) -> None:
    del call(model, "linear").input[2]


@corruption("has 4 operands, needs 3")
def extra_operand(model: ModelProto) -> None:
    node = call(model, "linear")
    node.input.append(node.input[0])


@corruption("multiplier must be a constant")
def computed_multiplier(model: ModelProto) -> None:
    """Ranges are proved from the values of multipliers, so they cannot be data."""
    model.graph.input.append(
        helper.make_tensor_value_info("sneaky", TensorProto.INT32, [32]),
    )
    call(model, "requantize").input[1] = "sneaky"


@corruption("its name must be a module path and '#0'")
def node_without_its_number(model: ModelProto) -> None:
    model.graph.node[0].name = "stem"


@corruption("the file has no graph")
def no_graph(model: ModelProto) -> None:
    model.ClearField("graph")


# Operators and functions


@corruption("function 'system_sh' with 3 inputs is unknown")
def unknown_operator(model: ModelProto) -> None:
    call(model, "linear").op_type = "system_sh"


@corruption("operator 'com.microsoft::Attention' is not one of domain 'intformer'")
def unknown_domain(model: ModelProto) -> None:
    node = call(model, "attention")
    node.domain, node.op_type = "com.microsoft", "Attention"


@corruption("operator 'ai.onnx::Softmax' is not one of domain 'intformer'")
def standard_operator_between_calls(model: ModelProto) -> None:
    node = call(model, "reshape")
    node.domain, node.op_type = "", "Softmax"


@corruption("the body of function 'requantize_int16' is not what format 2 defines")
def changed_function_body(model: ModelProto) -> None:
    body = next(f for f in model.functions if f.name == "requantize_int16")
    next(n for n in body.node if n.op_type == "Min").op_type = "Max"


@corruption("function 'sum_1' is defined, but no node calls it")
def extra_function(model: ModelProto) -> None:
    extra = model.functions.add()
    extra.CopyFrom(model.functions[0])
    extra.name = "sum_1"


@corruption("function 'linear' is defined twice")
def function_defined_twice(model: ModelProto) -> None:
    model.functions.append(next(f for f in model.functions if f.name == "linear"))


@corruption("function 'linear' is called, but not defined")
def missing_function(model: ModelProto) -> None:
    model.functions.remove(next(f for f in model.functions if f.name == "linear"))


@corruption("the body of function 'root_steps' is not what format 2 defines")
def changed_inner_function(model: ModelProto) -> None:
    body = next(f for f in model.functions if f.name == "root_steps")
    body.node[0].op_type = "Sub"


@corruption("function 'floor_shift' is called, but not defined")
def missing_inner_function(model: ModelProto) -> None:
    model.functions.remove(next(f for f in model.functions if f.name == "floor_shift"))


@corruption("function 'floor_shift' with 2 inputs is unknown")
def inner_function_as_a_node(model: ModelProto) -> None:
    node = call(model, "add")
    node.op_type = "floor_shift"
    del node.input[2:]


@corruption("the body of function 'linear' is not what format 2 defines")
def function_of_another_domain(model: ModelProto) -> None:
    next(f for f in model.functions if f.name == "linear").domain = "evil"


@corruption("function 'a\\nb\\x1b[31m' with 3 inputs is unknown")
def control_characters_in_an_operator(model: ModelProto) -> None:
    call(model, "linear").op_type = "a\nb\x1b[31m"


@corruption("its name must be a module path and '#0'")
def control_characters_in_a_path(model: ModelProto) -> None:
    model.graph.node[0].name = "\x1b[2J\n#0"


@corruption("kernels have more than 65536 positions in all")
def many_windows(model: ModelProto) -> None:
    """Each window costs time in proof and comparison, a node costs a few bytes."""
    node = call(model, "patches")
    node.op_type = "patches_99x99_60x60_1x1_0x0"
    for index in range(20):
        copied = model.graph.node.add()
        copied.CopyFrom(node)
        copied.output[0] = f"windows_{index}"
        copied.name = f"#{len(model.graph.node) - 1}"


# Attributes


@corruption("AttributeProto.s is not allowed")
def string_attribute(model: ModelProto) -> None:
    call(model, "linear").attribute.append(helper.make_attribute("path", "/etc/passwd"))


@corruption("AttributeProto.g is not allowed: subgraphs are not part of the format")
def subgraph(model: ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    call(model, "linear").attribute.append(helper.make_attribute("body", inner))


@corruption("AttributeProto.t is not allowed")
def tensor_attribute(model: ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32))
    call(model, "linear").attribute.append(helper.make_attribute("value", tensor))


@corruption("AttributeProto.ref_attr_name is not allowed")
def attribute_reference(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").ref_attr_name = "elsewhere"


@corruption("linear has no attribute 'shift'")
def attribute_of_another_operator(model: ModelProto) -> None:
    call(model, "linear").attribute.append(helper.make_attribute("shift", 3))


@corruption("attribute 'shift' is given twice")
def attribute_given_twice(model: ModelProto) -> None:
    call(model, "requantize").attribute.append(helper.make_attribute("shift", 3))


@corruption("attribute 'shift' must be an integer")
def attribute_of_another_type(model: ModelProto) -> None:
    attribute(model, "requantize", "shift").type = AttributeProto.FLOAT


@corruption("lacks ['shift'] among its attributes")
def missing_attribute(model: ModelProto) -> None:
    del call(model, "requantize").attribute[:]
