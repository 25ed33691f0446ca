"""The one graph type of intformer, used in a float stage and in an integer stage.

A graph is a list of nodes in execution order. Values are names; a value is a graph input, a
constant or the output of exactly one node. Dimensions are integers or symbols (``"N"`` for the
batch, ``"S"`` for a sequence); ``Graph.limits`` gives the largest value a symbol may take, which
range proofs need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Dim = int | str
Shape = tuple[Dim, ...]
Stage = Literal["float", "integer"]
Attribute = int | float | str | bool | tuple[int, ...]
Array = NDArray[Any]

INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "bool": (0, 1),
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
"""Every element type of the integer stage with its range; there is no float among them."""


@dataclass(frozen=True)
class TensorType:
    """Element type and shape of a value, for example ``TensorType("uint8", ("N", 32, 32, 3))``."""

    dtype: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(d) for d in self.shape)}]"


@dataclass
class Node:
    """One operator application.

    ``name`` is the path of the module it came from (``blocks.0.attn.proj``); recipes select layers
    by it and errors name it. It need not be unique, output names are.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Attribute] = field(default_factory=dict)
    name: str = ""

    @property
    def output(self) -> str:
        """The single output; most operators have one."""
        (only,) = self.outputs
        return only

    def number(self, key: str) -> float:
        """A numeric attribute."""
        value = self.attrs[key]
        assert isinstance(value, int | float)
        return float(value)

    def numbers(self, key: str) -> tuple[int, ...]:
        """An attribute that holds several integers."""
        value = self.attrs[key]
        assert isinstance(value, tuple)
        return value


class Backing(Protocol):
    """Where constants of a graph lie, if not in memory of their own: a mapped file."""

    def check(self) -> None:
        """Raise ``IntformerError`` if the constants may have changed since the graph was made."""

    def release(self) -> None:
        """Give memory of constants back; it is filled again when they are read."""


@dataclass
class Graph:
    """A float or integer program.

    Attributes:
        stage: ``"float"`` or ``"integer"``.
        inputs: graph inputs in order, with types.
        outputs: public output name -> value name, in order.
        nodes: operators in execution order.
        constants: value name -> array; float32 or integer, in the integer stage integer only.
        types: value name -> type, for inputs, constants and node outputs.
        limits: symbol -> largest value it may take (inclusive).
        input_ranges: input name -> (lowest, highest) value allowed; the dtype's range if absent.
        metadata: text for humans and tools (recipe, provenance, scales); never needed to execute.
        backing: what holds constants that are views, None if each has memory of its own. Whoever
            has read constants asks it, by ``check_constants``, whether they were the right ones.
    """

    stage: Stage
    inputs: dict[str, TensorType] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    input_ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    backing: Backing | None = field(default=None, compare=False, repr=False)

    def add_constant(self, name: str, array: Array) -> str:
        """Store ``array`` under ``name`` (made unique if taken) and return the name used."""
        name = self.fresh(name)
        self.constants[name] = array
        self.types[name] = TensorType(str(array.dtype), tuple(array.shape))
        return name

    def add_node(
        self,
        op: str,
        inputs: tuple[str, ...],
        type: TensorType,
        *,
        name: str = "",
        output: str | None = None,
        **attrs: Attribute,
    ) -> str:
        """Append a node with one output and return the output's name."""
        output = self.fresh(output or (f"{name}.{op}" if name else op))
        self.nodes.append(Node(op, inputs, (output,), dict(attrs), name))
        self.types[output] = type
        return output

    def fresh(self, name: str) -> str:
        """``name``, or ``name_2``, ``name_3`` ... if a value has that name already."""
        candidate, count = name, 1
        while candidate in self.types:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def producers(self) -> dict[str, Node]:
        """Value name -> the node that makes it."""
        return {output: node for node in self.nodes for output in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Value name -> the nodes that read it, in order; graph outputs are not listed."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                found.setdefault(value, []).append(node)
        return found

    def prune(self) -> None:
        """Drop nodes and constants that no output needs."""
        needed = set(self.outputs.values())
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {k: v for k, v in self.constants.items() if k in needed}
        alive = needed | set(self.inputs) | {o for n in self.nodes for o in n.outputs}
        self.types = {k: v for k, v in self.types.items() if k in alive}

    def merge_constants(self, keep: Collection[str] = ()) -> None:
        """Keep one of several constants with the same elements, and those in ``keep``."""
        first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        same: dict[str, str] = {}
        for name, array in self.constants.items():
            content = hashlib.sha256(np.ascontiguousarray(array).data).digest()
            found = first.setdefault((array.dtype.str, array.shape, content), name)
            same[name] = name if name in keep else found
        for node in self.nodes:
            node.inputs = tuple(same.get(value, value) for value in node.inputs)
        self.outputs = {public: same.get(value, value) for public, value in self.outputs.items()}
        self.prune()

    def check_constants(self) -> None:
        """Raise ``IntformerError`` if constants may have changed since the graph was made."""
        if self.backing is not None:
            self.backing.check()

    def release_constants(self) -> None:
        """Give memory back that the system can fill again when constants are read."""
        if self.backing is not None:
            self.backing.release()

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)
