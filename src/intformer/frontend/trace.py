"""Reading an exported program: what is constant, what is a mask, and what must be mapped.

Every node of the exported graph is of one kind:

- *fixed*: depends on no input and has a fixed shape; evaluated here (position-embedding resizing,
  buffers, any arithmetic on parameters).
- *sized*: depends on the sizes of the inputs alone (an expanded class token, the first S rows of a
  position table); evaluated at the largest size and written as ``expand`` or ``positions``.
- *mask*: depends on integer inputs other than through an embedding; recognised by evaluation.
- *computed*: everything else; mapped by the table in ``aten_table``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node as FxNode

from intformer.errors import CaptureError
from intformer.frontend import aten_table, shapes
from intformer.frontend.derived import write_mask, write_sized
from intformer.frontend.exported import inlined
from intformer.ir.graph import Array, Dim, Graph, Shape


@dataclass(frozen=True)
class Kind:
    """What the value of a node depends on."""

    inputs: frozenset[str] = frozenset()
    computed: bool = False


class Trace:
    """One exported program on its way to a float graph."""

    def __init__(
        self,
        program: ExportedProgram,
        names: Sequence[str],
        dynamic: Sequence[Mapping[int, str]],
        limits: Mapping[str, int],
    ) -> None:
        self.nodes = inlined(program)
        self.writer = aten_table.Writer(Graph("float"))
        self.symbols: dict[str, str] = {}
        self.parameters: dict[FxNode, tuple[str, Tensor]] = {}
        self.inputs: dict[FxNode, str] = {}
        self.values: dict[FxNode, str | list[str]] = {}
        self._read_placeholders(program, names, dynamic)
        used = set(self.symbols.values())
        self.writer.graph.limits = {s: n for s, n in limits.items() if s in used}
        self.kinds: dict[FxNode, Kind] = {}
        for node in self.nodes:
            self.kinds[node] = self._kind(node)

    def graph(self) -> Graph:
        """Map the program; outputs are named by position until the caller names them."""
        (output,) = (n for n in self.nodes if n.op == "output")
        results = {str(i): x for i, x in enumerate(output.args[0]) if isinstance(x, FxNode)}
        needed = self._needed(list(results.values()))
        for node in self.nodes:
            if node in needed:
                self._map(node)
        graph = self.writer.graph
        graph.outputs = {position: self._value(node) for position, node in results.items()}
        return graph

    # -- reading ---------------------------------------------------------------------------------

    def _read_placeholders(
        self,
        program: ExportedProgram,
        names: Sequence[str],
        dynamic: Sequence[Mapping[int, str]],
    ) -> None:
        placeholders = [n for n in self.nodes if n.op == "placeholder"]
        tensors = {**program.state_dict, **program.constants}
        users = []
        for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
            if spec.kind is InputKind.USER_INPUT:
                users.append(node)
            else:
                target = str(spec.target)
                self.parameters[node] = (target, tensors[target].detach())
        for node, name, axes in zip(users, names, dynamic, strict=True):
            self._read_input(node, name, axes)

    def _read_input(self, node: FxNode, name: str, axes: Mapping[int, str]) -> None:
        value = node.meta["val"]
        for axis, symbol in axes.items():
            self.symbols[str(value.shape[axis])] = symbol
        self.inputs[node] = name
        floating = value.dtype.is_floating_point
        dtype = "float32" if floating else str(value.dtype).removeprefix("torch.")
        self.values[node] = self.writer.input(name, dtype, self._shape(node))

    def _kind(self, node: FxNode) -> Kind:
        if node in self.inputs:
            floating = node.meta["val"].dtype.is_floating_point
            return Kind(frozenset([self.inputs[node]]), computed=floating)
        if _operator(node) in ("sym_size", "size"):
            return Kind()
        kinds = [self.kinds[arg] for arg in node.all_input_nodes]
        inputs = frozenset[str]().union(*(k.inputs for k in kinds))
        looked_up = _operator(node) == "embedding" and bool(inputs)
        return Kind(inputs, any(k.computed for k in kinds) or looked_up)

    def _needed(self, results: Sequence[FxNode]) -> set[FxNode]:
        needed: set[FxNode] = set()
        stack = list(results)
        while stack:
            node = stack.pop()
            if node not in needed and self.kinds[node].computed and node not in self.inputs:
                needed.add(node)
                stack.extend(node.all_input_nodes)
        return needed

    def _dim(self, dim: Any) -> Dim:
        if isinstance(dim, int):
            return dim
        expression = sympy.sympify(dim.node.expr)
        if expression.is_Integer:
            return int(expression)
        factors = sympy.Mul.make_args(expression)
        parts = [self.symbols.get(str(f), int(f) if f.is_Integer else None) for f in factors]
        if any(p is None for p in parts):
            raise CaptureError(f"the dimension {expression} depends on the input in a complex way")
        return shapes.product(tuple(p for p in parts if p is not None))

    def _shape(self, node: FxNode) -> Shape:
        return tuple(self._dim(d) for d in node.meta["val"].shape)

    # -- evaluating ------------------------------------------------------------------------------

    def _evaluate(self, target: FxNode, inputs: Mapping[str, Tensor]) -> Tensor:
        """The value of ``target`` for the given inputs, computed by PyTorch itself."""
        order = [n for n in self.nodes if n in self._ancestors(target)]
        values: dict[FxNode, Any] = {}
        for node in order:
            if node in self.inputs:
                values[node] = inputs[self.inputs[node]]
            elif node in self.parameters:
                values[node] = self.parameters[node][1]
            else:
                args, kwargs = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **kwargs)
        result: Tensor = values[target]
        return result

    def _ancestors(self, target: FxNode) -> set[FxNode]:
        found: set[FxNode] = set()
        stack = [target]
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack.extend(node.all_input_nodes)
        return found

    def _sample(self, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """All-zero inputs of the given sizes."""
        samples = {}
        for node, name in self.inputs.items():
            shape = [sizes.get(d, 1) if isinstance(d, str) else d for d in self._shape(node)]
            like = node.meta["val"]
            samples[name] = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return samples

    # -- writing ---------------------------------------------------------------------------------

    def _map(self, node: FxNode) -> None:
        self.writer.path = _module_path(node)
        if node.target is operator.getitem:
            source, index = node.args
            self.values[node] = self.values[source][index]  # type: ignore[index]
            return
        handler = aten_table.TABLE.get(_operator(node))
        if handler is None or not isinstance(node.target, torch._ops.OpOverload):
            raise CaptureError(_unsupported(node))
        if isinstance(node.meta["val"], Tensor):
            self.writer.result = self._shape(node)
        self.writer.operator = _operator(node)
        self.values[node] = handler(self.writer, **self._arguments(node))

    def _arguments(self, node: FxNode) -> dict[str, Any]:
        """The call's arguments by name, defaults included, tensors as value names."""
        result = {}
        for i, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
            if i < len(node.args):
                value = node.args[i]
            elif argument.name in node.kwargs:
                value = node.kwargs[argument.name]
            elif argument.has_default_value():
                value = argument.default_value
            else:
                continue
            result[_RENAMED.get(argument.name, argument.name)] = self._argument(value)
        return result

    def _argument(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._argument(v) for v in value]
        if isinstance(value, FxNode):
            return self._value(value) if isinstance(value.meta["val"], Tensor) else None
        return value

    def _value(self, node: FxNode) -> str:
        if node not in self.values:
            self.values[node] = self._derived(node)
        value = self.values[node]
        assert isinstance(value, str)
        return value

    def _derived(self, node: FxNode) -> str:
        """A value that is not mapped operator by operator: constant, sized or mask."""
        if self.kinds[node].inputs:
            return self._mask(node)
        if node in self.parameters:
            name, tensor = self.parameters[node]
            return self.writer.constant(name, _array(tensor))
        shape = self._shape(node)
        if all(isinstance(d, int) for d in shape):
            return self.writer.constant(self._constant_name(node), _array(self._evaluate(node, {})))
        return self._sized(node, shape)

    def _constant_name(self, node: FxNode) -> str:
        """The name of the one parameter that a constant is made of, else the node's."""
        found = [self.parameters[n] for n in self._ancestors(node) if n in self.parameters]
        names = [name for name, tensor in found if tensor.is_floating_point()]
        return names[0] if len(names) == 1 else node.name

    def _sized(self, node: FxNode, shape: Shape) -> str:
        self.writer.path = _module_path(node)
        return write_sized(
            self.writer,
            self._constant_name(node),
            shape,
            lambda sizes: _array(self._evaluate(node, self._sample(sizes))),
        )

    def _mask(self, node: FxNode) -> str:
        inputs = self.kinds[node].inputs
        if len(inputs) != 1:
            path = _module_path(node)
            raise CaptureError(f"{path}: {node.target} mixes the inputs {sorted(inputs)}")
        (name,) = inputs

        def evaluate(mask: Array) -> Array:
            symbols = (d for d in self.writer.shape(name) if isinstance(d, str))
            samples = self._sample(dict(zip(symbols, mask.shape, strict=False)))
            samples[name] = torch.from_numpy(mask).to(samples[name])
            return _array(self._evaluate(node, samples))

        return write_mask(self.writer, name, evaluate)


_RENAMED = {"self": "input", "x": "input"}


def _array(tensor: Tensor) -> Array:
    """A copy: a graph does not change when its module is trained further."""
    if tensor.is_floating_point():
        tensor = tensor.float()
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _operator(node: FxNode) -> str:
    """``linear`` for ``aten.linear.default``, empty for anything that is no ATen operator."""
    target = node.target
    return target._schema.name.split("::")[1] if isinstance(target, torch._ops.OpOverload) else ""


def _module_path(node: FxNode) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = next((str(entry[0]) for entry in reversed(stack) if entry[0] != _NO_MODULE), "")
    return re.sub(r"slice\([^)]*\)\.", "", path)


_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"


def _unsupported(node: FxNode) -> str:
    return (
        f"{_module_path(node) or 'the model'}: the operator {node.target} is not supported; "
        "replace it in the module or capture the part of the model before it"
    )
