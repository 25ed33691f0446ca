"""Quantizes a real model once, saves it in both forms and runs it in every realisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from intformer.cli.loading import calibration, describe
from intformer.evaluate.data_files import find_data
from intformer.evaluate.origin import Origin
from intformer.frontend.sources import Source, load_source
from intformer.ir.graph import Array, Graph
from intformer.program import Program, load
from intformer.quantize.api import quantize
from intformer.quantize.torch_primitives import run_torch
from intformer.reference import interpret
from intformer.runtime.session import Session, native

Inputs = Mapping[str, Array]
Run = Callable[[Inputs], dict[str, Array]]

REALISATIONS = ["structured", "flat", "torch", "native"]
"""What must equal the reference: ONNX Runtime on both forms, the torch simulation, the kernels."""

FLOATS = {
    onnx.TensorProto.DataType.Value(name)
    for name in onnx.TensorProto.DataType.keys()  # noqa: SIM118 (an enum wrapper, not a dict)
    if "FLOAT" in name or "COMPLEX" in name or name == "DOUBLE"
}


@dataclass(frozen=True)
class Whole:
    """One quantized model with its artifacts; ``program`` was loaded from the structured one."""

    source: Source
    program: Program
    structured: Path
    flat: Path
    recipe: str = "intformer"

    @property
    def graph(self) -> Graph:
        return self.program.graph

    def realisation(self, kind: str) -> Run:
        if kind == "reference":
            return lambda inputs: interpret(self.graph, inputs)
        if kind == "torch":
            return lambda inputs: run_torch(self.graph, inputs)
        if kind == "native":
            return self.native_run
        return self._onnx_runtime(self.structured if kind == "structured" else self.flat)

    @cached_property
    def native_run(self) -> Run:
        if native is None:
            pytest.skip("the native extension intformer._native is not built")
        return Session(self.graph, threads=2).run

    def _onnx_runtime(self, path: Path) -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options)
        names = list(self.graph.outputs)
        return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def quantize_whole(
    folder: Path,
    name: str,
    data: Path,
    samples: int,
    output: str | None = None,
    *,
    recipe: str = "intformer",
    **options: Any,
) -> Whole:
    """Quantize as ``intformer quantize`` does; ``options`` of the recipe beside its own."""
    source = load_source(name, outputs=[output] if output else None)
    asked = {"base": recipe, **options}
    program = quantize(source, calibration(source, str(data), samples), asked)
    describe(program, source, Origin(name, output))
    structured, flat = folder / "structured.onnx", folder / "flat.onnx"
    program.save(structured)
    program.save(flat, flat=True)
    return Whole(source, load(structured, threads=1), structured, flat, recipe)


def data_or_skip(name: str) -> Path:
    """A data file, or a skip that says where it is looked for."""
    path = find_data(name)
    if path is None:
        pytest.skip(f"{name} is in neither $INTFORMER_DATA nor ../shared/data")
    return path


def package_folder(package: str) -> Path:
    """The folder of an installed package that is not imported, or a skip."""
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        pytest.skip(f"the package {package} (requirements-models.txt) is not installed")
    return Path(places[0])


def one_thread() -> Iterator[None]:
    """Body of a fixture: two workers with two threads each would fight for two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(inputs: Inputs, chosen: Any) -> dict[str, Array]:
    """Some rows of a batch."""
    return {name: np.ascontiguousarray(array[chosen]) for name, array in inputs.items()}


def in_batches(run: Run, inputs: Inputs, size: int) -> dict[str, Array]:
    """The outputs of ``run`` on batches of ``size``, joined."""
    total = len(next(iter(inputs.values())))
    parts = [run(rows(inputs, slice(i, i + size))) for i in range(0, total, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def assert_same(graph: Graph, found: Inputs, wanted: Inputs) -> None:
    """Same names, element types, shapes and bytes; and not trivially so."""
    assert list(found) == list(wanted) == list(graph.outputs)
    for name, expected in wanted.items():
        got = found[name]
        assert got.dtype == expected.dtype == graph.types[graph.outputs[name]].dtype
        assert got.shape == expected.shape
        assert (got == expected).all(), f"{name}: {(got != expected).sum()} values differ"
        assert len(np.unique(expected)) > 3, f"{name} is nearly constant"


def float_places(model: onnx.ModelProto) -> list[str]:
    """Every place of an ONNX model that holds or names a floating-point type."""
    graph = model.graph
    found = [f"initializer {t.name}" for t in graph.initializer if t.data_type in FLOATS]
    found += [f"sparse initializer {t.values.name}" for t in graph.sparse_initializer]
    found += list(_float_types("graph", [*graph.input, *graph.output, *graph.value_info]))
    found += list(_float_attributes("graph", graph.node))
    for function in model.functions:
        found += _float_types(function.name, function.value_info)
        found += _float_attributes(function.name, function.node)
    return found


def _float_types(where: str, values: Iterable[onnx.ValueInfoProto]) -> Iterator[str]:
    for value in values:
        if value.type.tensor_type.elem_type in FLOATS or not value.type.HasField("tensor_type"):
            yield f"{where}: type of {value.name}"


def _float_attributes(where: str, nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    kinds = onnx.AttributeProto
    for node in nodes:
        for attribute in node.attribute:
            tensors = [attribute.t, *attribute.tensors]
            smuggled = (
                attribute.type in (kinds.FLOAT, kinds.FLOATS, kinds.GRAPH, kinds.GRAPHS)
                or any(t.data_type in FLOATS for t in tensors)
                or (node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS)
            )
            if smuggled:
                yield f"{where}: {node.op_type} attribute {attribute.name}"
