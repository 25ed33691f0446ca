"""The messages of function bodies, written down as protocol buffers do.

Opening a file means writing the bodies that it must have and comparing. Only a few messages are
needed for that, so programs load and run without the ``onnx`` package: it is slow to import and
larger than a small model. Fields come in the order of their numbers, as every deterministic
serialiser writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from intformer.artifact.schema import DOMAIN, DOMAIN_VERSION, ELEMENT_TYPES, OPSET
from intformer.ir.graph import Array

INT, TENSOR, INTS = 2, 4, 7
"""Numbers of ``AttributeProto.AttributeType``."""


@dataclass(frozen=True)
class Reference:
    """The value of a function's attribute of this name, an integer."""

    attribute: str


AttributeValue = int | tuple[int, ...] | Array | Reference


@dataclass
class OnnxNode:
    """One operator of the default domain or call of a function; attributes in the file's order."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    domain: str = ""

    def encoded(self, name: str = "") -> bytes:
        """The ``NodeProto``."""
        return b"".join(
            [
                *(_text(1, value) for value in self.inputs),
                *(_text(2, value) for value in self.outputs),
                _text(3, name) if name else b"",
                _text(4, self.op),
                *(_bytes(5, _attribute(key, value)) for key, value in self.attributes.items()),
                _text(7, self.domain) if self.domain else b"",
            ]
        )


def encoded_function(
    name: str,
    inputs: Iterable[str],
    output: str,
    attributes: Iterable[str],
    nodes: Sequence[OnnxNode],
) -> bytes:
    """The ``FunctionProto`` of a function of this format's domain, which may call others of it."""
    opsets = [_text(1, "") + _integer(2, OPSET)]
    if any(node.domain for node in nodes):
        opsets.append(_text(1, DOMAIN) + _integer(2, DOMAIN_VERSION))
    return b"".join(
        [
            _text(1, name),
            *(_text(4, value) for value in inputs),
            _text(5, output),
            *(_text(6, value) for value in attributes),
            *(_bytes(7, node.encoded()) for node in nodes),
            *(_bytes(9, opset) for opset in opsets),
            _text(10, DOMAIN),
        ]
    )


def _attribute(name: str, value: AttributeValue) -> bytes:
    """The ``AttributeProto``."""
    if isinstance(value, Reference):
        return _text(1, name) + _integer(20, INT) + _text(21, value.attribute)
    if isinstance(value, int):
        return _text(1, name) + _integer(3, value) + _integer(20, INT)
    if isinstance(value, tuple):
        numbers = b"".join(_integer(8, number) for number in value)
        return _text(1, name) + numbers + _integer(20, INTS)
    return _text(1, name) + _bytes(5, _tensor(value)) + _integer(20, TENSOR)


def _tensor(array: Array) -> bytes:
    """The ``TensorProto`` without a name, its content little-endian."""
    dims = b"".join(_integer(1, dim) for dim in array.shape)
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    kind = ELEMENT_TYPES[str(array.dtype)]
    return dims + _integer(2, kind) + _bytes(9, little.tobytes())


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value % 2**64)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)
