"""What ``torch.export`` leaves in a program that a graph of values cannot say, taken out."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.fx import Node as FxNode

WRAPPERS = ("wrap_with_autocast", "wrap_with_set_grad_enabled")
"""Calls that run a graph under a setting which means nothing for float32 inference."""


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program without assignments whose effect is seen through another name.

    Most in-place operators are harmless, such as a ReLU whose operand nothing else reads, and are
    left alone.
    """
    if not any(_is_seen(node) for node in program.graph.nodes):
        return program
    result: ExportedProgram = program.run_decompositions({})
    return result


def _is_seen(node: FxNode) -> bool:
    """Whether ``node`` writes into a value that others read, or into a part of one."""
    if not (isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable):
        return False
    operand = node.args[0]
    assert isinstance(operand, FxNode)
    return len(operand.users) > 1 or _is_view(operand)


def _is_view(node: FxNode) -> bool:
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.op == "placeholder"
    aliases = [result.alias_info for result in node.target._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def inlined(program: ExportedProgram) -> list[Any]:
    """The nodes of a program without calls of :data:`WRAPPERS`; it is changed in place."""
    module = program.graph_module
    for node in list(module.graph.nodes):
        if _name(node) in WRAPPERS:
            _inline(module, node)
    return list(module.graph.nodes)


def _name(node: FxNode) -> str:
    return str(node.target) if node.op == "call_function" else ""


def _inline(module: GraphModule, node: FxNode) -> None:
    """Replace a call ``wrapper(*settings, graph, *operands)`` and the picking of its results."""
    place = next(i for i, x in enumerate(node.args) if _is_graph(x))
    inner = module.get_submodule(str(node.args[place].target))  # type: ignore[union-attr]
    assert isinstance(inner, GraphModule)
    holes = [n for n in inner.graph.nodes if n.op == "placeholder"]
    values: dict[FxNode, Any] = dict(zip(holes, node.args[place + 1 :], strict=True))
    with module.graph.inserting_before(node):
        results = module.graph.graph_copy(inner.graph, values)
    for user in list(node.users):
        assert user.target is operator.getitem and isinstance(results, (list, tuple))
        index: Any = user.args[1]
        user.replace_all_uses_with(results[index])
        module.graph.erase_node(user)
    module.graph.erase_node(node)


def _is_graph(argument: object) -> bool:
    return isinstance(argument, torch.fx.Node) and argument.op == "get_attr"
