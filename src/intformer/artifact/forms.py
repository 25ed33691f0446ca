"""The two forms of a saved program: calls of functions, or everything inlined."""

from __future__ import annotations

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto, ValueInfoProto, helper

from intformer.artifact import schema
from intformer.artifact.emitter import Emitter, Value, name_result, short_names
from intformer.artifact.functions import needed_functions
from intformer.artifact.names import function_name
from intformer.artifact.onnx_primitives import OnnxPrimitives
from intformer.ir.graph import Array, Graph, Node, TensorType
from intformer.ir.operators import OPERATORS, evaluate

Parts = tuple[list[NodeProto], list[TensorProto], list[FunctionProto]]
"""Nodes, initializers and functions of a model."""


def structured(graph: Graph, names: dict[str, str]) -> Parts:
    """One call of a function per node of ``graph``; ``names`` maps values to names in the file."""
    called = [function_name(node.op, node.attrs, len(node.inputs)) for node in graph]
    nodes = [
        _call(node, name, names, index)
        for index, (node, name) in enumerate(zip(graph, called, strict=True))
    ]
    constants = [tensor(names[name], array) for name, array in graph.constants.items()]
    operands = {name: len(node.inputs) for node, name in zip(graph, called, strict=True)}
    bodies = needed_functions(operands).values()
    return nodes, constants, [FunctionProto.FromString(body) for body in bodies]


def _call(node: Node, called: str, names: dict[str, str], index: int) -> NodeProto:
    """A call named ``path#index``: the module path of the node, made unique."""
    call = helper.make_node(
        called,
        [names[name] for name in node.inputs],
        [names[node.output]],
        name=f"{node.name}#{index}",
        domain=schema.DOMAIN,
    )
    for key in OPERATORS[node.op].dynamic:
        call.attribute.append(helper.make_attribute(key, node.attrs[key]))
    return call


def flat(graph: Graph, names: dict[str, str]) -> Parts:
    """Operators of the default domain alone: numbers for attributes, int8 weights as uint8.

    The node that gives the result of an operator has the name of a call in the structured form.
    """
    fresh, added = short_names(set(names.values())), dict[str, Array]()

    def store(array: Array) -> str:
        name = fresh()
        added[name] = array
        return name

    emitter = Emitter(fresh, store)
    xp = OnnxPrimitives(emitter)
    values = {
        name: Value(emitter, names[name], kind.dtype, array=graph.constants.get(name))
        for name, kind in graph.types.items()
    }
    nodes: list[NodeProto] = []
    for index, node in enumerate(graph):
        emitter.nodes = []
        result = evaluate(xp, node, [values[name] for name in node.inputs])
        name_result(emitter, result, names[node.output])
        for step in emitter.nodes:
            last = names[node.output] in step.outputs
            nodes.append(NodeProto.FromString(step.encoded(f"{node.name}#{index}" if last else "")))
    used = {name for node in nodes for name in node.input}
    constants = {names[name]: array for name, array in graph.constants.items()} | added
    return nodes, [tensor(n, a) for n, a in constants.items() if n in used], []


def tensor(name: str, array: Array) -> TensorProto:
    """An initializer holding ``array`` as little-endian bytes."""
    dtype = str(array.dtype)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return TensorProto(
        name=name,
        data_type=schema.ELEMENT_TYPES[dtype],
        dims=array.shape,
        raw_data=little.tobytes(),
    )


def value_info(name: str, kind: TensorType) -> ValueInfoProto:
    """The declaration of a value; symbolic dimensions keep their names."""
    return helper.make_tensor_value_info(name, schema.ELEMENT_TYPES[kind.dtype], list(kind.shape))
