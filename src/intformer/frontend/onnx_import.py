"""From a float ONNX model to a float-stage graph.

Values are of the kinds that ``trace`` knows too: *static* ones (constants and shape arithmetic) are
evaluated by ONNX's reference implementation at three sets of sizes, which tells what is fixed and
what follows the batch or the sequence; *mask* ones depend on integer inputs alone and are
recognised by evaluation; the rest is *computed* and mapped by the table in ``onnx_ops``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from intformer.errors import CaptureError
from intformer.frontend import onnx_ops
from intformer.frontend.build import BATCH_LIMIT
from intformer.frontend.canonical import canonicalize
from intformer.frontend.derived import SMALLER, largest, write_mask, write_sized
from intformer.frontend.onnx_file import load_model
from intformer.ir.graph import Array, Dim, Graph, Shape

OPSETS = range(11, 22)


def import_onnx(
    path: str | Path,
    *,
    outputs: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Graph:
    """Read a float ONNX model as a graph of canonical operators.

    Args:
        path: the model; external data must lie in its folder.
        outputs: names of values at which to cut the model; its own outputs if ``None``.
        names: ONNX input name -> name in the graph.
        limits: symbol -> largest size; ``"S"`` is 512 if not given.

    The first axis of every input is the batch ``"N"``, the second axis of integer inputs with two
    axes the sequence ``"S"``; other axes must be fixed.

    Raises:
        CaptureError: the file is no such model, or holds something that is not supported.
    """
    model = load_model(path)
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version not in OPSETS:
        raise CaptureError(
            f"{path}: opset {version} is not supported; export with an opset from "
            f"{OPSETS.start} to {OPSETS.stop - 1}"
        )
    reader = _Reader(model.graph, version, {"N": BATCH_LIMIT, "S": 512, **(limits or {})})
    graph = reader.read(list(outputs or (o.name for o in model.graph.output)), names or {})
    graph.metadata["source"] = Path(path).name
    return canonicalize(graph)


@dataclass(frozen=True)
class _Static:
    """The values of a static tensor at the sizes of ``_Reader.sizes``, one if it is fixed."""

    values: tuple[Array, ...]

    @property
    def fixed(self) -> bool:
        return len(self.values) == 1

    def at(self, index: int) -> Array:
        return self.values[0 if self.fixed else index]


class _Reader:
    """One ONNX graph on its way to a float graph."""

    def __init__(self, proto: onnx.GraphProto, opset: int, limits: dict[str, int]) -> None:
        self.proto, self.opset = proto, opset
        self.writer = onnx_ops.Writer(Graph("float"), self)
        self.producers = {o: node for node in proto.node for o in node.output if o}
        self.initializers = {t.name: t for t in proto.initializer}
        self.limits = limits
        self.sizes: list[dict[str, int]] = []
        self.inputs: dict[str, str] = {}
        self.static: dict[str, _Static] = {}
        self.masks: set[str] = set()
        self.values: dict[str, str] = {}
        self.used: set[str] = set()

    def read(self, outputs: Sequence[str], names: Mapping[str, str]) -> Graph:
        """Map everything that ``outputs`` need."""
        nodes = self._needed(outputs)
        self._read_inputs(names)
        for node in nodes:
            self._read_node(node)
        graph = self.writer.graph
        graph.outputs = {names.get(name, name): self.value(name) for name in outputs}
        graph.inputs = {k: v for k, v in graph.inputs.items() if k in self.used}
        return graph

    # -- reading ---------------------------------------------------------------------------------

    def _needed(self, outputs: Sequence[str], by_shape: bool = True) -> list[onnx.NodeProto]:
        """The nodes that ``outputs`` need, with or without those needed for their shape alone."""
        known = {i.name for i in self.proto.input} | set(self.initializers) | {""}
        needed: set[str] = set()
        stack = list(outputs)
        while stack:
            name = stack.pop()
            if name in needed or name in known:
                continue
            if name not in self.producers:
                raise CaptureError(f"the model has no value {name!r} to cut at")
            node = self.producers[name]
            needed.update(node.output)
            if by_shape or node.op_type != "Shape":
                stack.extend(node.input)
        return [node for node in self.proto.node if needed.intersection(node.output)]

    def _read_inputs(self, names: Mapping[str, str]) -> None:
        for value in self.proto.input:
            if value.name not in self.initializers:
                self._read_input(value, names.get(value.name, value.name))
        used = {d for t in self.writer.graph.inputs.values() for d in t.shape}
        self.writer.graph.limits = {s: n for s, n in self.limits.items() if s in used}
        self.sizes = [largest(self.writer.graph.limits), *SMALLER]

    def _read_input(self, value: onnx.ValueInfoProto, name: str) -> None:
        tensor = value.type.tensor_type
        dims = [d.dim_value or d.dim_param or "?" for d in tensor.shape.dim]
        kind = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
        shape: list[Dim] = ["N", *dims[1:]]
        if len(dims) == 2 and kind.startswith("int"):
            shape[1] = "S"
            self.masks.add(value.name)
        free = [d for d in shape if isinstance(d, str) and d not in ("N", "S")]
        if not dims or free:
            raise CaptureError(
                f"input {value.name!r} has the shape {dims}; every axis but the batch must be "
                "fixed: export the model with a fixed image size"
            )
        dtype = "float32" if kind.startswith("float") else kind
        self.inputs[value.name] = self.writer.input(name, dtype, tuple(shape))

    def _read_node(self, node: onnx.NodeProto) -> None:
        self.writer.path = module_path(node)
        if node.domain not in ("", "ai.onnx"):
            raise CaptureError(self._unsupported(node))
        names = [x for x in node.input if x]
        if node.op_type == "Shape" and not self._is_static(names[0]):
            self._read_shape(node)
        elif all(self._is_static(x) for x in names):
            self._fold(node)
        elif self._is_mask_step(node, names):
            self.masks.update(node.output)
        else:
            self._map(node)

    def _is_static(self, name: str) -> bool:
        if name in self.initializers and name not in self.static:
            self.static[name] = _Static((_read_tensor(self.initializers[name]),))
        return name in self.static

    def _is_mask_step(self, node: onnx.NodeProto, names: Sequence[str]) -> bool:
        if node.op_type == "Gather" and self._is_static(names[0]):
            return self.static[names[0]].at(0).dtype.kind != "f"
        return all(x in self.masks or self._is_static(x) for x in names)

    def _read_shape(self, node: onnx.NodeProto) -> None:
        shapes = tuple(self._shape_at(node, sizes) for sizes in self.sizes)
        self.static[node.output[0]] = _simplified(shapes)

    def _shape_at(self, node: onnx.NodeProto, sizes: Mapping[str, int]) -> Array:
        """What a ``Shape`` node gives at some sizes, for a computed value, an input or a mask."""
        (name,) = node.input
        if name in self.masks and name not in self.inputs:
            shape = self._evaluate(name, sizes).shape
        else:
            shape = at_sizes(self.writer.shape(self.value(name)), sizes)
        first, last = onnx_ops.attribute(node, "start", 0), onnx_ops.attribute(node, "end")
        return np.array(shape[first:last], np.int64)

    def _fold(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant":
            self.static[node.output[0]] = _Static((_constant(node),))
            return
        arguments = [self.static[x] if x else None for x in node.input]
        count = 1 if all(a is None or a.fixed for a in arguments) else len(self.sizes)
        runs = [
            self._apply(node, [None if a is None else a.at(i) for a in arguments])
            for i in range(count)
        ]
        for i, name in enumerate(node.output):
            self.static[name] = _simplified(tuple(run[i] for run in runs))

    def _apply(self, node: onnx.NodeProto, arguments: Sequence[Array | None]) -> list[Array]:
        """One node on known arrays, by ONNX's reference implementation."""
        feeds = {n: a for n, a in zip(node.input, arguments, strict=True) if a is not None}
        try:
            results = ReferenceEvaluator(node, opsets={"": self.opset}).run(None, feeds)
        except Exception as error:  # the reference raises whatever NumPy or its operator raises
            raise CaptureError(
                f"{node.name or node.op_type}: cannot evaluate {node.op_type} on constants: {error}"
            ) from error
        return [np.asarray(r) for r in results]

    def _evaluate(self, name: str, sizes: Mapping[str, int], **given: Array) -> Array:
        """A mask value at the given sizes; inputs that are not given are zero."""
        values: dict[str, Array] = {}
        for node in self._needed([name], by_shape=False):
            if node.op_type == "Shape" and node.input[0] not in values:
                values[node.output[0]] = self._shape_at(node, sizes)
                continue
            for x in node.input:
                if x in self.inputs and x not in values:
                    shape = at_sizes(self.writer.shape(self.inputs[x]), sizes)
                    values[x] = given.get(x, np.zeros(shape, np.int64))
                elif self._is_static(x) and self.static[x].fixed:
                    values[x] = self.static[x].at(0)
            if node.op_type == "Constant":
                values[node.output[0]] = _constant(node)
            else:
                arguments = [values[x] if x else None for x in node.input]
                values.update(zip(node.output, self._apply(node, arguments), strict=True))
        return values[name]

    # -- writing ---------------------------------------------------------------------------------

    def _map(self, node: onnx.NodeProto) -> None:
        handler = onnx_ops.TABLE.get(node.op_type)
        if handler is None:
            raise CaptureError(self._unsupported(node))
        result = handler(self.writer, node)
        results = [result] if isinstance(result, str) else result
        self.values.update(zip(node.output, results, strict=False))

    def value(self, name: str) -> str:
        """The graph's value for an ONNX value; static ones and masks are written on demand."""
        if name in self.inputs:
            self.used.add(self.inputs[name])
            return self.inputs[name]
        if name not in self.values:
            self.values[name] = self._derived(name)
        return self.values[name]

    def _derived(self, name: str) -> str:
        if not self._is_static(name):
            return self._mask(name)
        static = self.static[name]
        label = self._label(name)
        if static.fixed:
            return self.writer.constant(label, static.at(0))
        shape = symbolic_dims(self.sizes, [v.shape for v in static.values])
        return write_sized(
            self.writer,
            label,
            shape,
            lambda sizes: static.at(self.sizes.index(dict(sizes))),
        )

    def _label(self, name: str) -> str:
        """A name for a constant: that of the one parameter it is made of, if there is one."""
        nodes = self._needed([name], by_shape=False)
        used = {name, *(x for n in nodes if n.op_type != "Shape" for x in n.input)}
        floating = {
            x for x in used if x in self.initializers and _is_floating(self.initializers[x])
        }
        return _constant_name(floating.pop() if len(floating) == 1 else name, self.writer.path)

    def _mask(self, name: str) -> str:
        nodes = [n for n in self._needed([name], by_shape=False) if n.op_type != "Shape"]
        inputs = [x for n in nodes for x in n.input if x in self.inputs]
        source = inputs[0]
        self.used.add(self.inputs[source])

        def evaluate(mask: Array) -> Array:
            n, s = mask.shape
            return self._evaluate(name, {"N": n, "S": s}, **{source: mask})

        return write_mask(self.writer, self.inputs[source], evaluate)

    def fixed(self, name: str) -> Array | None:
        """The array of a fixed constant."""
        static = self.static.get(name) if self._is_static(name) else None
        return static.at(0) if static is not None and static.fixed else None

    def dims(self, name: str) -> Shape:
        """A static vector of integers as dimensions, with symbols where it follows the sizes."""
        if not self._is_static(name):
            raise CaptureError(f"{self.writer.path}: a shape depends on the values of an input")
        static = self.static[name]
        values = [static.at(i).reshape(-1).tolist() for i in range(len(self.sizes))]
        return symbolic_dims(self.sizes, values)

    def is_id(self, name: str) -> str | None:
        """The integer input that ``name`` is, casts aside."""
        while name not in self.inputs:
            node = self.producers.get(name)
            if node is None or node.op_type not in ("Cast", "Identity"):
                return None
            name = node.input[0]
        return self.value(name)

    def _unsupported(self, node: onnx.NodeProto) -> str:
        if node.domain == "intformer":
            return "this is an integer program already, not a float model"
        domain = f"{node.domain}." if node.domain else ""
        return (
            f"{node.name or node.output[0]}: the ONNX operator {domain}{node.op_type} is not "
            "supported; cut the model before it with outputs=[value name] (--output VALUE)"
        )


def module_path(node: onnx.NodeProto) -> str:
    """The module a node came from: ``/blocks.0/mlp/fc1/MatMul`` -> ``blocks.0.mlp.fc1``."""
    return ".".join(part for part in node.name.split("/")[:-1] if part)


def at_sizes(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A symbolic shape at the given sizes."""
    return tuple(_at(dim, sizes) for dim in shape)


def _at(dim: Dim, sizes: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    result = 1
    for part in dim.split("*"):
        result *= int(part) if part.isdigit() else sizes[part]
    return result


def symbolic_dims(sizes: Sequence[Mapping[str, int]], seen: Sequence[Sequence[int]]) -> Shape:
    """Symbols for dimensions seen at several sizes; products of a number and symbols too."""
    if len({len(dims) for dims in seen}) != 1:
        raise CaptureError("the rank of a value depends on the sizes of the inputs")
    return tuple(_symbol(sizes, values) for values in zip(*seen, strict=True))


def _symbol(sizes: Sequence[Mapping[str, int]], values: Sequence[int]) -> Dim:
    if len(set(values)) == 1:
        return int(values[0])
    for symbol in ("N", "S", "N*S"):
        known = [s for s in sizes if all(part in s for part in symbol.split("*"))]
        if len(known) == len(sizes):
            ratios = {v / _at(symbol, s) for v, s in zip(values, sizes, strict=True)}
            ratio = ratios.pop()
            if not ratios and ratio == int(ratio):
                return symbol if ratio == 1 else f"{int(ratio)}*{symbol}"
    raise CaptureError(f"a dimension follows the inputs' sizes in a complex way: {list(values)}")


def _simplified(values: tuple[Array, ...]) -> _Static:
    first = values[0]
    same = all(v.shape == first.shape and (v == first).all() for v in values[1:])
    return _Static((first,) if same else values)


def _is_floating(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
    )


def _read_tensor(tensor: onnx.TensorProto) -> Array:
    array: Array = numpy_helper.to_array(tensor)
    return array.astype(np.float32) if array.dtype.kind not in "fiub" else array


def _constant(node: onnx.NodeProto) -> Array:
    for found in node.attribute:
        if found.name == "value":
            return _read_tensor(found.t)
        if found.name in ("value_float", "value_floats"):
            return np.array(onnx.helper.get_attribute_value(found), np.float32)
        if found.name in ("value_int", "value_ints"):
            return np.array(onnx.helper.get_attribute_value(found), np.int64)
    raise CaptureError(f"{node.name}: a Constant without a numeric value")


def _constant_name(name: str, path: str) -> str:
    """A module-like name for a constant: exporters call weights ``onnx::MatMul_1966``."""
    if "::" in name or "/" in name:
        return f"{path}.weight" if "::" in name else name.strip("/").replace("/", ".")
    return name
