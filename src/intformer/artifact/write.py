"""Writes integer graphs as ONNX, structured or flat."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from onnx import ModelProto, helper

from intformer.artifact import forms, schema
from intformer.artifact.emitter import short_names
from intformer.artifact.golden import make_golden
from intformer.artifact.names import check_name
from intformer.errors import ArtifactError
from intformer.ir.graph import Graph
from intformer.ir.verify import storage_bytes, verify


def save(graph: Graph, path: str | os.PathLike[str], *, flat: bool = False) -> None:
    """Write ``graph`` to ``path`` (a ``.onnx`` file); an existing file is replaced in one step.

    Args:
        graph: an integer graph.
        path: the file to write.
        flat: without functions, for tools that cannot read them; ``load`` takes structured files.

    Raises:
        VerifyError: the graph is not a sound integer program.
        ArtifactError: it does not fit the format, or the file cannot be written.
    """
    content: bytes = to_onnx(graph, flat=flat).SerializeToString(deterministic=True)
    target = Path(path)
    try:
        _replace(target, content)
    except OSError as error:
        raise ArtifactError(f"cannot write '{target}': {error.strerror or error}") from None


def _replace(target: Path, content: bytes) -> None:
    """Write beside ``target``, then rename, so that no reader ever sees half a file."""
    if target.exists() and not target.is_file():
        raise OSError("it exists and is not a regular file")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_onnx(graph: Graph, *, flat: bool = False) -> ModelProto:
    """``graph`` as an ONNX model of integer operators.

    Raises:
        VerifyError: the graph is not a sound integer program.
        ArtifactError: it does not fit the format.
    """
    verify(graph)
    _check_fit(graph)
    names = _onnx_names(graph)
    write = forms.flat if flat else forms.structured
    nodes, initializers, functions = write(graph, names)
    body = helper.make_graph(
        nodes,
        "program",
        [forms.value_info(names[name], kind) for name, kind in graph.inputs.items()],
        [forms.value_info(names[name], graph.types[name]) for name in graph.outputs.values()],
        initializers,
    )
    opsets = [helper.make_opsetid("", schema.OPSET)]
    if not flat:
        opsets.append(helper.make_opsetid(schema.DOMAIN, schema.DOMAIN_VERSION))
    model = helper.make_model(
        body,
        opset_imports=opsets,
        functions=functions,
        ir_version=schema.IR_VERSION,
        producer_name=schema.PRODUCER,
        producer_version=schema.producer_version(),
    )
    for key, text in _metadata(graph, names, flat).items():
        model.metadata_props.add(key=key, value=text)
    return model


def _check_fit(graph: Graph) -> None:
    """What the format cannot hold, although it is sound."""
    for name, kind in graph.types.items():
        if kind.dtype not in schema.ELEMENT_TYPES:
            raise ArtifactError(f"value '{name}' is {kind.dtype}, which the format does not have")
    if storage_bytes(graph) > schema.MAX_FILE_BYTES - schema.MAX_METADATA_BYTES:
        raise ArtifactError(f"{storage_bytes(graph)} bytes of constants do not fit a 2 GB file")


def _onnx_names(graph: Graph) -> dict[str, str]:
    """Value name -> name in the file: inputs and outputs carry their public names there.

    An input that has the name of an output gets another, which ``_metadata`` records. Any other
    result has the number of its node and constants have letters: a name in full would be written
    wherever the value is read, and ``load`` makes readable names from module paths.
    """
    computed = {node.output for node in graph}
    names = {value: public for public, value in graph.outputs.items()}
    if len(names) != len(graph.outputs) or not computed.issuperset(names):
        raise ArtifactError("every output must be the result of a node of its own")
    taken = set(graph.inputs) | set(graph.outputs)
    for name in taken:
        check_name(name)
    for name in graph.inputs:
        names[name] = _free(name, taken) if name in graph.outputs else name
    letters = short_names(taken)
    for constant in graph.constants:
        names[constant] = letters()
    for index, node in enumerate(graph):
        if node.output not in names:
            names[node.output] = _free(str(index), taken)
    return names


def _free(name: str, taken: set[str]) -> str:
    """``name``, longer if it is taken; from now on it is."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _metadata(graph: Graph, names: dict[str, str], flat: bool) -> dict[str, str]:
    """All entries in the order of the file: the format's, then the graph's, the golden run last."""
    clash = [key for key in graph.metadata if key in schema.RESERVED]
    if clash:
        raise ArtifactError(f"metadata key '{clash[0]}' belongs to the format; choose another")
    entries = {
        schema.KEY_FORMAT: schema.FORMAT,
        schema.KEY_FORM: json.dumps("flat" if flat else "structured"),
    }
    maps: dict[str, dict[str, Any]] = {
        schema.KEY_LIMITS: graph.limits,
        schema.KEY_RANGES: graph.input_ranges,
        schema.KEY_INPUTS: {names[n]: n for n in graph.inputs if names[n] != n},
    }
    entries |= {key: json.dumps(content) for key, content in maps.items() if content}
    entries |= {key: text for key, text in graph.metadata.items() if key != schema.KEY_GOLDEN}
    return entries | {schema.KEY_GOLDEN: make_golden(graph)}
