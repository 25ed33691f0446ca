"""Rebuilds a graph from a decoded file; every size is checked before anything is allocated."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from intformer.artifact import schema
from intformer.artifact.messages import INT
from intformer.artifact.names import check_name, parse_function_name
from intformer.artifact.wire import Message
from intformer.errors import ArtifactError
from intformer.ir.graph import Array, Attribute, Dim, Graph, Node, TensorType
from intformer.ir.operators import OPERATORS
from intformer.ir.value_names import readable_names, rename

VIEW_BYTES = 2**16
"""Constants of bytes from this size on stay in the file's memory; smaller and wider ones, which may
lie at odd addresses there, are copied."""


class Reader:
    """Reads one file into ``graph``; ``called`` lists its functions with their operand counts."""

    def __init__(self, metadata: dict[str, str]) -> None:
        own = {key: value for key, value in metadata.items() if key not in schema.RESERVED}
        self.graph = Graph("integer", metadata=own)
        self.called: dict[str, int] = {}
        self._defined: set[str] = set()
        self._windows = 0
        self._names = text_map(metadata, schema.KEY_INPUTS)
        self.graph.limits = integer_map(metadata, schema.KEY_LIMITS)
        self.graph.input_ranges = range_map(metadata, schema.KEY_RANGES)

    def read(self, body: Message) -> Graph:
        """The graph of a ``GraphProto``; types of inner results are for the verifier to infer.

        Raises:
            ArtifactError: anything that the format does not allow.
        """
        if len(body["node"]) > schema.MAX_NODES:
            raise ArtifactError(f"{len(body['node'])} nodes, at most {schema.MAX_NODES}")
        for info in body["input"]:
            self._input(info)
        for tensor in body["initializer"]:
            self._constant(tensor)
        for index, node in enumerate(body["node"]):
            self.graph.nodes.append(self._node(index, node))
        self._declare(body["output"])
        self._check_references()
        self._name_values()
        return self.graph

    def _define(self, name: str) -> str:
        """The value called ``name`` in the file; raises if it is defined already."""
        check_name(name)
        if name in self._defined:
            raise ArtifactError(f"value '{name}' is defined twice")
        self._defined.add(name)
        return name

    def _input(self, info: Message) -> None:
        name = self._define(info.get("name", ""))
        self.graph.inputs[name] = self.graph.types[name] = tensor_type(name, info)

    def _constant(self, tensor: Message) -> None:
        name = self._define(tensor.get("name", ""))
        array = constant(name, tensor)
        self.graph.constants[name] = array
        self.graph.types[name] = TensorType(str(array.dtype), array.shape)

    def _node(self, index: int, node: Message) -> Node:
        where = f"node {index} ({node.get('name', '')[:80]!r})"
        if node.get("domain", "") != schema.DOMAIN:
            called = f"{node.get('domain') or 'ai.onnx'}::{node.get('op_type', '')}"[:80]
            raise ArtifactError(
                f"{where}: operator {called!r} is not one of domain '{schema.DOMAIN}'"
            )
        if len(node["output"]) != 1:
            raise ArtifactError(f"{where}: has {len(node['output'])} outputs, must have one")
        name = node.get("op_type", "")
        op, static = parse_function_name(name, len(node["input"]))
        self.called[name] = len(node["input"])
        self._count_windows(where, static)
        inputs = tuple(node["input"])
        output = self._define(node["output"][0])
        attrs = {**static, **_attributes(where, op, node["attribute"])}
        return Node(op, inputs, (output,), attrs, _module_path(where, index, node))

    def _count_windows(self, where: str, static: dict[str, Attribute]) -> None:
        kernel = static.get("kernel", ())
        self._windows += math.prod(kernel) if isinstance(kernel, tuple) else 0
        if self._windows > schema.MAX_ALL_WINDOWS:
            raise ArtifactError(
                f"{where}: kernels have more than {schema.MAX_ALL_WINDOWS} positions in all"
            )

    def _declare(self, outputs: list[Message]) -> None:
        """Take over the outputs and their declared types."""
        results = {node.output for node in self.graph}
        for info in outputs:
            name = info.get("name", "")
            if name not in results:
                raise ArtifactError(f"output {name[:80]!r} is not computed by any node")
            if name in self.graph.outputs:
                raise ArtifactError(f"output '{name}' is given twice")
            self.graph.types[name] = tensor_type(name, info)
            self.graph.outputs[name] = name

    def _check_references(self) -> None:
        for node in self.graph:
            for name in node.inputs:
                if name not in self._defined:
                    raise ArtifactError(
                        f"{node.op} at '{node.name or node.output}': "
                        f"input {name[:80]!r} is neither an input, a constant nor a result"
                    )

    def _name_values(self) -> None:
        """Give inputs the names of the program and all other values readable ones."""
        own = {name: self._names.get(name, name) for name in self.graph.inputs}
        if set(self._names) - set(own) or len(set(own.values())) < len(own):
            raise ArtifactError(f"metadata '{schema.KEY_INPUTS}' does not fit the inputs")
        rename(self.graph, readable_names(self.graph, own))
        unknown = set(self.graph.input_ranges) - set(self.graph.inputs)
        if unknown:
            raise ArtifactError(
                f"metadata gives a range for {min(unknown)[:80]!r}, which is no input"
            )


def tensor_type(name: str, info: Message) -> TensorType:
    """The declared type of a value."""
    kind = info.get("type", {}).get("tensor_type")
    if kind is None or "shape" not in kind:
        raise ArtifactError(f"value '{name}' has no tensor type with a shape")
    shape = tuple(_dimension(name, dim) for dim in kind["shape"]["dim"])
    _check_rank(name, shape)
    return TensorType(_dtype(name, kind.get("elem_type", 0)), shape)


def constant(name: str, tensor: Message) -> Array:
    """The array of an initializer; its size is compared with its shape before it is made."""
    dtype = _dtype(name, tensor.get("data_type", 0))
    shape = tuple(_size(name, dim) for dim in tensor["dims"])
    _check_rank(name, shape)
    raw = tensor.get("raw_data", memoryview(b""))
    kind = np.dtype(dtype)
    wanted = math.prod(shape) * kind.itemsize
    if len(raw) != wanted:
        raise ArtifactError(
            f"constant '{name}' {dtype}{list(shape)} needs {wanted} bytes, the file has {len(raw)}"
        )
    stored = np.frombuffer(raw, kind.newbyteorder("<")).reshape(shape)
    if kind.itemsize == 1 and wanted >= VIEW_BYTES:
        return stored
    return stored.astype(kind, copy=True)


def _dtype(name: str, number: int) -> str:
    if number in schema.DTYPES:
        return schema.DTYPES[number]
    from onnx import TensorProto

    known = {value: key for key, value in TensorProto.DataType.items()}
    raise ArtifactError(
        f"value '{name}' has element type {known.get(number, number)}: "
        f"only {', '.join(schema.ELEMENT_TYPES)} are allowed"
    )


def _check_rank(name: str, shape: tuple[Dim, ...]) -> None:
    if len(shape) > schema.MAX_RANK:
        raise ArtifactError(f"value '{name}' has rank {len(shape)}, at most {schema.MAX_RANK}")


def _dimension(name: str, dim: Message) -> Dim:
    if len(dim) != 1:
        raise ArtifactError(f"value '{name}' has a dimension without one size or one symbol")
    if "dim_value" in dim:
        return _size(name, dim["dim_value"])
    check_name(dim["dim_param"])
    symbol: str = dim["dim_param"]
    return symbol


def _size(name: str, size: int) -> int:
    if not 1 <= size <= schema.MAX_DIMENSION:
        raise ArtifactError(f"value '{name}' has a dimension of {size}: must be in [1, 2^31]")
    return size


def _attributes(where: str, op: str, attributes: Iterable[Message]) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    for attribute in attributes:
        name = attribute.get("name", "")
        if name not in OPERATORS[op].dynamic:
            raise ArtifactError(f"{where}: {op} has no attribute {name[:80]!r}")
        if name in found:
            raise ArtifactError(f"{where}: attribute '{name}' is given twice")
        if attribute.get("type") != INT or "i" not in attribute:
            raise ArtifactError(f"{where}: attribute '{name}' must be an integer")
        found[name] = attribute["i"]
    return found


def _module_path(where: str, index: int, node: Message) -> str:
    path, mark, number = str(node.get("name", "")).rpartition("#")
    if not mark or number != str(index) or len(path) > schema.MAX_NAME or not path.isprintable():
        raise ArtifactError(f"{where}: its name must be a module path and '#{index}'")
    return path


def json_object(metadata: dict[str, str], key: str) -> dict[str, Any]:
    """The JSON object under ``key``, empty if there is none."""
    try:
        content = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ArtifactError(f"metadata '{key}' is not a JSON object: {metadata[key][:40]!r}")
    return content


def text_map(metadata: dict[str, str], key: str) -> dict[str, str]:
    """A JSON object of names."""
    content = json_object(metadata, key)
    for name in content.values():
        if not isinstance(name, str):
            raise ArtifactError(f"metadata '{key}' holds {str(name)[:40]!r}, which is not a name")
        check_name(name)
    return content


def integer_map(metadata: dict[str, str], key: str) -> dict[str, int]:
    """A JSON object of sizes."""
    content = json_object(metadata, key)
    for symbol, limit in content.items():
        if type(limit) is not int or not 1 <= limit <= schema.MAX_DIMENSION:
            raise ArtifactError(
                f"metadata '{key}': the limit of {symbol[:40]!r} must be in [1, 2^31], "
                f"got {str(limit)[:40]}"
            )
    return content


def range_map(metadata: dict[str, str], key: str) -> dict[str, tuple[int, int]]:
    """A JSON object of [low, high] pairs."""
    found = {}
    for name, pair in json_object(metadata, key).items():
        if not isinstance(pair, list) or [type(v) for v in pair] != [int, int]:
            raise ArtifactError(
                f"metadata '{key}': the range of {name[:40]!r} must be two integers"
            )
        found[name] = (pair[0], pair[1])
    return found
