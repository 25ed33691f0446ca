"""A decoder for the few protocol buffer messages that an artifact consists of.

Files come from anywhere, so they are decoded here rather than by a general parser: only the fields
that ``save`` writes are accepted (no external data, subgraphs, sparse or typed tensors), no field
is given twice where one is meant, and the work is limited in advance. Weights are views of the
file, not copies. What this accepts, every protocol buffers parser reads in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from intformer.artifact import schema
from intformer.errors import ArtifactError

Message = dict[str, Any]
"""Field name -> value: int, str, memoryview, Message, or a list of one of them."""

VARINT, BYTES = 0, 2

FIELDS: dict[str, dict[int, tuple[str, str]]] = {
    "ModelProto": {
        1: ("ir_version", "int"),
        2: ("producer_name", "text"),
        3: ("producer_version", "text"),
        7: ("graph", "bytes"),
        8: ("opset_import", "*OperatorSetIdProto"),
        14: ("metadata_props", "*StringStringEntryProto"),
        25: ("functions", "*bytes"),
    },
    "OperatorSetIdProto": {1: ("domain", "text"), 2: ("version", "int")},
    "StringStringEntryProto": {1: ("key", "text"), 2: ("value", "text")},
    "GraphProto": {
        1: ("node", "*NodeProto"),
        2: ("name", "text"),
        5: ("initializer", "*TensorProto"),
        11: ("input", "*ValueInfoProto"),
        12: ("output", "*ValueInfoProto"),
    },
    "NodeProto": {
        1: ("input", "*text"),
        2: ("output", "*text"),
        3: ("name", "text"),
        4: ("op_type", "text"),
        5: ("attribute", "*AttributeProto"),
        7: ("domain", "text"),
    },
    "AttributeProto": {1: ("name", "text"), 3: ("i", "int"), 20: ("type", "int")},
    "TensorProto": {
        1: ("dims", "*int"),
        2: ("data_type", "int"),
        8: ("name", "text"),
        9: ("raw_data", "bytes"),
    },
    "ValueInfoProto": {1: ("name", "text"), 2: ("type", "TypeProto")},
    "TypeProto": {1: ("tensor_type", "TypeProto.Tensor")},
    "TypeProto.Tensor": {1: ("elem_type", "int"), 2: ("shape", "TensorShapeProto")},
    "TensorShapeProto": {1: ("dim", "*TensorShapeProto.Dimension")},
    "TensorShapeProto.Dimension": {1: ("dim_value", "int"), 2: ("dim_param", "text")},
}
"""Allowed fields by message and number: name and kind, with a star if repeated.

The kind is a message, ``int``, ``text`` or ``bytes``. The graph of a model is ``bytes`` because it
is decoded by itself, functions because they are compared, never decoded.
"""

_REASONS = {
    "external_data": "weights must lie inside the file, never in another one",
    "data_location": "weights must lie inside the file, never in another one",
    "sparse_initializer": "sparse tensors are not part of the format",
    "quantization_annotation": "scales are integers inside the program",
    "training_info": "an artifact holds no training graph",
    "configuration": "an artifact holds no device configuration",
    "f": "attributes of calls are integers",
    "s": "attributes of calls are integers",
    "t": "attributes of calls are integers",
    "floats": "attributes of calls are integers",
    "ints": "attributes of calls are single integers",
    "strings": "attributes of calls are integers",
    "value_info": "types of inner values follow from those of inputs and constants",
    "g": "subgraphs are not part of the format",
    "graphs": "subgraphs are not part of the format",
    "ref_attr_name": "only function bodies refer to attributes",
}


class Decoder:
    """Decodes messages of one file; counts fields over all of them."""

    def __init__(self) -> None:
        self._left = schema.MAX_FIELDS

    def decode(self, message: str, data: memoryview) -> Message:
        """``data`` as a ``message``.

        Raises:
            ArtifactError: the data is damaged, holds a field that the format does not have, or too
                many fields.
        """
        known = FIELDS[message]
        result: Message = {name: [] for name, kind in known.values() if kind[0] == "*"}
        for number, wire, content in fields(data):
            self._left -= 1
            if self._left < 0:
                raise ArtifactError(
                    f"more than {schema.MAX_FIELDS} fields: too complex to be sound"
                )
            if number not in known:
                raise _not_allowed(message, number)
            name, kind = known[number]
            value = self._value(f"{message}.{name}", kind.lstrip("*"), wire, content)
            if kind[0] == "*":
                result[name].append(value)
            elif name in result:
                raise ArtifactError(f"{message}.{name} is given twice")
            else:
                result[name] = value
        return result

    def _value(self, where: str, kind: str, wire: int, content: Any) -> Any:
        if wire != (VARINT if kind == "int" else BYTES):
            raise _damaged(f"{where} has wire type {wire}")
        if kind in FIELDS:
            return self.decode(kind, content)
        return text(content, where) if kind == "text" else content


def fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Field number, wire type and content of each field: an int (signed 64 bits) or a view."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, position = _varint(data, position)
            yield number, wire, value - 2**64 if value >= 2**63 else value
            continue
        if wire == BYTES:
            size, position = _varint(data, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _damaged(f"wire type {wire} at byte {position}")
        if size > len(data) - position:
            raise _damaged(f"a field of {size} bytes where {len(data) - position} are left")
        yield number, wire, data[position : position + size]
        position += size


def first(data: memoryview, number: int) -> str:
    """The first text field ``number`` of a message, empty if there is none."""
    for found, wire, content in fields(data):
        if found == number and wire == BYTES:
            return bytes(content[: schema.MAX_NAME]).decode(errors="replace")
    return ""


def text(content: memoryview, where: str) -> str:
    """``content`` as UTF-8."""
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        raise _damaged(f"{where} is not UTF-8 text") from None


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _damaged("it ends in the middle of a number")
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            if result >= 2**64:
                break
            return result, position
    raise _damaged(f"a number beyond 64 bits at byte {position}")


def _damaged(what: str) -> ArtifactError:
    return ArtifactError(f"not an ONNX file, or a damaged or truncated one ({what})")


def _not_allowed(message: str, number: int) -> ArtifactError:
    import onnx

    kind: Any = onnx
    for part in message.split("."):
        kind = getattr(kind, part)
    field = kind.DESCRIPTOR.fields_by_number.get(number)
    name = field.name if field else f"field {number}"
    reason = _REASONS.get(name, "the format does not have it")
    if message == "TensorProto" and name.endswith("_data") and name not in _REASONS:
        reason = "numbers are stored as raw_data"
    return ArtifactError(f"{message}.{name} is not allowed: {reason}")
