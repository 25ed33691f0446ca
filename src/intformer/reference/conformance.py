"""Conformance cases: one operator, its operands and the result, in one file that C can read too.

A case file is a text header, a line ``data``, and the tensors as raw little-endian bytes, in the
order of their lines and without gaps. Each header line is a word and what belongs to it::

    intformer-case 1
    op requantize
    attr shift int 18
    attr dtype str uint8
    attr kernel ints 2 3 3                  (count, then values)
    input x int32 -4000 4000 3 2 5 8        (name, type, lowest, highest, rank, dimensions)
    constant multiplier int32 1 8           (name, type, rank, dimensions)
    output y uint8 3 2 5 8                  (name, type, rank, dimensions)
    data

``input`` and ``constant`` lines stand in the order of the operator's operands. Names, types and
string values are single words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from intformer.errors import InputError
from intformer.ir.graph import INTEGER_RANGES, Array, Attribute, Graph, Node, TensorType

MAGIC = "intformer-case 1"
SUFFIX = ".case"


@dataclass
class Case:
    """One operator application and its result.

    Attributes:
        op, attrs: of the operator.
        operands: name -> array, in order.
        ranges: name -> (lowest, highest) of the operands that are inputs; the others are constants.
        expected: the result.
        name: ``requantize/int32-uint8``, from the file's path.
    """

    op: str
    attrs: dict[str, Attribute]
    operands: dict[str, Array]
    ranges: dict[str, tuple[int, int]]
    expected: Array = field(default_factory=lambda: np.zeros(0, np.uint8))
    name: str = ""

    @property
    def inputs(self) -> dict[str, Array]:
        """The operands that are not constants."""
        return {name: self.operands[name] for name in self.ranges}

    def graph(self) -> Graph:
        """The case as a program of one node, whose output is called ``y``."""
        graph = Graph("integer", outputs={"y": "y"}, input_ranges=dict(self.ranges))
        for name, array in self.operands.items():
            graph.types[name] = _type(array)
            if name in self.ranges:
                graph.inputs[name] = graph.types[name]
            else:
                graph.constants[name] = array
        graph.nodes.append(Node(self.op, tuple(self.operands), ("y",), dict(self.attrs), self.name))
        graph.types["y"] = _type(self.expected)
        return graph


def _type(array: Array) -> TensorType:
    return TensorType(str(array.dtype), tuple(array.shape))


def load_cases(folder: Path) -> Iterator[Case]:
    """Every case below ``folder``, in the order of their names.

    Raises:
        InputError: there is none, or a file is not a case.
    """
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    if not paths:
        raise InputError(f"no conformance cases ({SUFFIX} files) below '{folder}'")
    for path in paths:
        yield read_case(path, name=path.relative_to(folder).with_suffix("").as_posix())


def read_case(path: Path, name: str = "") -> Case:
    """The case in one file.

    Raises:
        InputError: the file is not a case; the message says where it breaks.
    """
    head, mark, data = path.read_bytes().partition(b"\ndata\n")
    lines = head.decode("ascii", "replace").splitlines()
    if not mark or lines[:1] != [MAGIC]:
        raise InputError(f"'{path}' is not a conformance case: it must begin with '{MAGIC}'")
    case = Case("", {}, {}, {}, name=name or path.stem)
    for number, line in enumerate(lines[1:], start=2):
        try:
            data = _read_line(case, line.split(), data)
        except (ValueError, KeyError, IndexError) as error:
            raise InputError(f"'{path}', line {number} '{line}': {error}") from None
    if data:
        raise InputError(f"'{path}' holds {len(data)} bytes more than its header says")
    return case


def _read_line(case: Case, words: list[str], data: bytes) -> bytes:
    """Add what a header line says to ``case``; returns the data that it leaves."""
    kind, name, *rest = words
    if kind == "op":
        case.op = name
        return data
    if kind == "attr":
        case.attrs[name] = _attribute(*rest)
        return data
    dtype, *numbers = rest[0], *(int(word) for word in rest[1:])
    if kind == "input":
        low, high, *numbers = numbers
        case.ranges[name] = (low, high)
    array, data = _tensor(dtype, numbers, data)
    if kind == "output":
        case.expected = array
    elif kind in ("input", "constant"):
        case.operands[name] = array
    else:
        raise ValueError(f"unknown word '{kind}'")
    return data


def _attribute(kind: str, *words: str) -> Attribute:
    if kind == "str":
        return words[0]
    numbers = [int(word) for word in words]
    if kind == "int":
        return numbers[0]
    count, *values = numbers
    if kind != "ints" or count != len(values):
        raise ValueError(f"not an attribute of {count} values")
    return tuple(values)


def _tensor(dtype: str, numbers: list[int], data: bytes) -> tuple[Array, bytes]:
    rank, *shape = numbers
    if rank != len(shape) or min(shape, default=0) < 0 or dtype not in INTEGER_RANGES:
        raise ValueError(f"not a tensor of rank {rank}")
    kind = np.dtype(dtype).newbyteorder("<")
    size = math.prod(shape) * kind.itemsize
    if size > len(data):
        raise ValueError(f"needs {size} bytes of data, {len(data)} are left")
    array = np.frombuffer(data[:size], kind).astype(dtype).reshape(shape)
    return array, data[size:]


def write_case(path: Path, case: Case) -> None:
    """Write ``case`` as a file."""
    tensors = [*case.operands.values(), case.expected]
    raw = [np.ascontiguousarray(t, t.dtype.newbyteorder("<")).tobytes() for t in tensors]
    text = "\n".join([MAGIC, f"op {case.op}", *_header(case), "data", ""])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("ascii") + b"".join(raw))


def _header(case: Case) -> Iterator[str]:
    for name, value in case.attrs.items():
        if isinstance(value, tuple):
            yield " ".join(str(word) for word in ("attr", name, "ints", len(value), *value))
        else:
            yield f"attr {name} {type(value).__name__} {value}"
    for name, array in case.operands.items():
        shape = " ".join(str(n) for n in (array.ndim, *array.shape))
        if name in case.ranges:
            low, high = case.ranges[name]
            yield f"input {name} {array.dtype} {low} {high} {shape}"
        else:
            yield f"constant {name} {array.dtype} {shape}"
    shape = " ".join(str(n) for n in (case.expected.ndim, *case.expected.shape))
    yield f"output y {case.expected.dtype} {shape}"
