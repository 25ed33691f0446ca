"""Writes integer graphs as ONNX, structured or flat."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from onnx import ModelProto, ValueInfoProto, helper

from intformer.artifact import forms, schema
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
        value_info=_intermediates(graph, names),
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


def _intermediates(graph: Graph, names: dict[str, str]) -> list[ValueInfoProto]:
    public = set(graph.outputs.values())
    inner = [node.output for node in graph if node.output not in public]
    return [forms.value_info(names[name], graph.types[name]) for name in inner]


def _onnx_names(graph: Graph) -> dict[str, str]:
    """Value name -> name in the file: outputs carry their public names there.

    A value that happens to have the name of another's output gets a new one; ``_metadata`` records
    what was renamed.
    """
    computed = {node.output for node in graph}
    wanted = {value: public for public, value in graph.outputs.items()}
    if len(wanted) != len(graph.outputs) or not computed.issuperset(wanted):
        raise ArtifactError("every output must be the result of a node of its own")
    taken = set(graph.types) | set(graph.outputs)
    names = {}
    for value in graph.types:
        name = wanted.get(value, value)
        if value not in wanted and value in graph.outputs:
            name = _fresh(value, taken)
        check_name(name)
        names[value] = name
    return names


def _fresh(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    taken.add(f"{name}_{number}")
    return f"{name}_{number}"


def _metadata(graph: Graph, names: dict[str, str], flat: bool) -> dict[str, str]:
    """All entries in the order of the file: the format's, then the graph's, the golden run last."""
    clash = [key for key in graph.metadata if key in schema.RESERVED]
    if clash:
        raise ArtifactError(f"metadata key '{clash[0]}' belongs to the format; choose another")
    renamed = {name: value for value, name in names.items() if name != value}
    entries = {
        schema.KEY_FORMAT: schema.FORMAT,
        schema.KEY_FORM: json.dumps("flat" if flat else "structured"),
        schema.KEY_LIMITS: json.dumps(graph.limits),
        schema.KEY_RANGES: json.dumps({k: list(v) for k, v in graph.input_ranges.items()}),
        schema.KEY_NAMES: json.dumps(renamed),
    }
    entries |= {key: text for key, text in graph.metadata.items() if key != schema.KEY_GOLDEN}
    return entries | {schema.KEY_GOLDEN: make_golden(graph)}
