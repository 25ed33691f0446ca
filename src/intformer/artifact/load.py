"""Opens artifacts. Nothing in a file is trusted: it is a provably sound program or an error."""

from __future__ import annotations

import os
import stat

from intformer.artifact import schema, wire
from intformer.artifact.functions import needed_functions
from intformer.artifact.mapped import MappedFile, map_file
from intformer.artifact.read import Reader
from intformer.artifact.wire import Message
from intformer.errors import ArtifactError, ForeignFileError, VerifyError
from intformer.ir.graph import Graph
from intformer.ir.verify import verify

_FOREIGN = {
    b"PK\x03\x04": "a zip archive (a PyTorch checkpoint or an .npz)",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"GGUF": "a GGUF file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
}
"""First bytes of files that are taken for artifacts now and then."""


def load(path: str | os.PathLike[str], *, max_bytes: int = schema.MAX_FILE_BYTES) -> Graph:
    """Read and verify the program in the structured ``.onnx`` file at ``path``.

    Args:
        path: a file written by ``save``.
        max_bytes: refuse larger files before reading them.

    Raises:
        ArtifactError: the file is missing, too large, damaged, or holds what the format excludes.
        VerifyError: the program in it cannot be proved sound.
    """
    try:
        graph = _program(*_open(path, max_bytes))
    except VerifyError as error:
        raise type(error)(f"'{os.fspath(path)}': {error}") from None
    graph.release_constants()
    return graph


def _open(
    path: str | os.PathLike[str], max_bytes: int
) -> tuple[bytes | memoryview, MappedFile | None]:
    """The content of the file, mapped where that is possible."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArtifactError("not a regular file")
            if status.st_size > max_bytes:
                raise ArtifactError(f"{status.st_size} bytes, at most {max_bytes} are allowed")
            mapped = map_file(file.fileno(), status.st_size, os.fspath(path))
            return (file.read(max_bytes) if mapped is None else mapped.content), mapped
    except FileNotFoundError:
        raise ArtifactError("there is no such file") from None
    except IsADirectoryError:
        raise ArtifactError("it is a directory, not a file") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot be read: {error}") from None


def load_bytes(content: bytes | memoryview) -> Graph:
    """Read and verify the program in the bytes of a structured ``.onnx`` file.

    Large weights are views of ``content``, not copies.

    Raises:
        ArtifactError: the content is damaged or holds what the format excludes.
        VerifyError: the program in it cannot be proved sound.
    """
    return _program(content, None)


def _program(content: bytes | memoryview, mapped: MappedFile | None) -> Graph:
    """The program in ``content``, which is that of the file ``mapped`` if there is one."""
    _check_kind(content)
    data = memoryview(content)
    _check_producer(data)
    decoder = wire.Decoder()
    model = decoder.decode("ModelProto", data)
    metadata = _metadata(model)
    _check_versions(model, metadata)
    reader = Reader(metadata)
    graph = reader.read(decoder.decode("GraphProto", model["graph"]))
    graph.backing = mapped
    verify(graph, infer=True)
    _check_functions(model["functions"], reader.called)
    return graph


def _check_kind(content: bytes | memoryview) -> None:
    if not len(content):
        raise ForeignFileError("the file is empty")
    for magic, kind in _FOREIGN.items():
        if content[: len(magic)] == magic:
            raise ForeignFileError(f"this is {kind}; programs are .onnx files written by intformer")


def _check_producer(data: memoryview) -> None:
    producer = wire.first(data, 2)
    if producer != schema.PRODUCER:
        raise ForeignFileError(
            f"written by {producer[:40]!r}, not by intformer: a float model must be quantized first"
        )


def _metadata(model: Message) -> dict[str, str]:
    entries = model["metadata_props"]
    if len(entries) > schema.MAX_METADATA_ENTRIES:
        raise ArtifactError(
            f"{len(entries)} metadata entries, at most {schema.MAX_METADATA_ENTRIES}"
        )
    size = sum(len(e.get("key", "")) + len(e.get("value", "")) for e in entries)
    if size > schema.MAX_METADATA_BYTES:
        raise ArtifactError(f"{size} characters of metadata, at most {schema.MAX_METADATA_BYTES}")
    found: dict[str, str] = {}
    for entry in entries:
        key = entry.get("key", "")
        if not key or key in found:
            raise ArtifactError(f"metadata key {key[:40]!r} is empty or given twice")
        found[key] = entry.get("value", "")
    return found


def _check_versions(model: Message, metadata: dict[str, str]) -> None:
    if metadata.get(schema.KEY_FORMAT) != schema.FORMAT:
        raise ArtifactError(
            f"format version is {metadata.get(schema.KEY_FORMAT, 'absent')[:40]!r}, this version "
            f"of intformer reads '{schema.FORMAT}'"
        )
    if metadata.get(schema.KEY_FORM) != '"structured"':
        raise ArtifactError(
            "this is the flat form, which has no operator boundaries: load the structured file "
            "it was made with, or quantize again without --flat"
        )
    if model.get("ir_version") != schema.IR_VERSION:
        raise ArtifactError(
            f"ONNX IR version is {model.get('ir_version')}, must be {schema.IR_VERSION}"
        )
    opsets = [(entry.get("domain", ""), entry.get("version")) for entry in model["opset_import"]]
    if opsets != [("", schema.OPSET), (schema.DOMAIN, schema.DOMAIN_VERSION)]:
        raise ArtifactError(
            f"operator sets are {str(opsets)[:80]}, must be ONNX {schema.OPSET} "
            f"and {schema.DOMAIN} {schema.DOMAIN_VERSION}"
        )
    if "graph" not in model:
        raise ArtifactError("the file has no graph")


def _check_functions(functions: list[memoryview], called: dict[str, int]) -> None:
    """Each called function is there once, with exactly the body that this format gives it."""
    wanted = needed_functions(called)
    found: set[str] = set()
    for body in functions:
        name = wire.first(body, 1)
        if name in found:
            raise ArtifactError(f"function {name[:80]!r} is defined twice")
        if name not in wanted:
            raise ArtifactError(f"function {name[:80]!r} is defined, but no node calls it")
        if body != wanted[name]:
            raise ArtifactError(
                f"the body of function '{name}' is not what format {schema.FORMAT} defines: "
                "the file was changed after it was saved"
            )
        found.add(name)
    for name in wanted.keys() - found:
        raise ArtifactError(f"function '{name}' is called, but not defined")
