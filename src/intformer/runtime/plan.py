"""The plan: native steps for one choice of batch and sequence sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from intformer.ir.graph import Array, Dim, Graph, Node
from intformer.reference.unpack import unpacked
from intformer.runtime.fuse import Group
from intformer.runtime.memory import Kind, Location, Storage, place
from intformer.runtime.packing import Constants

DTYPE_CODES = {"uint8": 0, "bool": 0, "int8": 1, "int16": 2, "int32": 3, "int64": 4, "int20": 5}
"""The native DType of each element type."""

ITEM_SIZE = {"uint8": 1, "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}

StepText = tuple[str, list[int], list[int]]
SlotText = tuple[int, int, int]


@dataclass(frozen=True)
class Plan:
    """What the native executor needs, for one specialisation.

    Attributes:
        steps: (operation, slots, numbers), in order; slot -1 is absent.
        slots: (kind, base, byte offset).
        arena_bytes: size of the one work memory.
        outputs: (dtype, shape) of each output, in the order of the graph.
    """

    steps: list[StepText]
    slots: list[SlotText]
    arena_bytes: int
    outputs: list[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Machine:
    """What a plan depends on.

    Attributes:
        level: instruction-set level.
        lanes: int32 values per vector, to which parameters are padded.
        split: 64-bit parameters hold the even lanes of each vector first, then the odd ones.
        threads: that one run uses.
    """

    level: str
    lanes: int
    split: bool
    threads: int


@dataclass
class Builder:
    """Collects the steps of a plan; emitters (``intformer.runtime.emit``) call its methods."""

    graph: Graph
    sizes: Mapping[str, int]
    constants: Constants
    machine: Machine
    steps: list[tuple[str, list[Location | None], list[int]]] = field(default_factory=list)
    places: dict[str, Location] = field(default_factory=dict)
    storages: list[Storage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.packed: dict[str, Node] = {n.output: n for n in self.graph if n.op == "unpack4"}
        """Weights stored in 4 bits and the nodes that expand them."""

    def stored(self, name: str) -> Array:
        """The array of a constant; weights of 4 bits are expanded and not kept."""
        if name not in self.packed:
            return self.graph.constants[name]
        node = self.packed[name]
        packed, multiplier = (self.graph.constants[operand] for operand in node.inputs)
        return unpacked(packed, multiplier, cast(int, node.attrs["rows"]))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value with symbols resolved."""
        return self.resolve(self.graph.types[name].shape)

    def resolve(self, shape: tuple[Dim, ...]) -> tuple[int, ...]:
        return tuple(d if isinstance(d, int) else self.sizes[d] for d in shape)

    def dtype(self, name: str) -> str:
        return self.graph.types[name].dtype

    def nbytes(self, name: str) -> int:
        return math.prod(self.shape(name)) * ITEM_SIZE[self.dtype(name)]

    def locate(self, name: str) -> Location:
        """Where a value lives; a constant becomes a slot on first use."""
        if name not in self.places:
            self.places[name] = self.constant(("value", name), lambda: self.stored(name))
        return self.places[name]

    def constant(self, key: tuple[object, ...], make: Callable[[], Array]) -> Location:
        index = self.constants.get(key, make)
        return Location(Storage(Kind.CONSTANT, self.constants.arrays[index].nbytes, index))

    def define(self, name: str) -> Location:
        """A new place in the arena for the value ``name``."""
        self.places[name] = self.scratch(self.nbytes(name))
        return self.places[name]

    def scratch(self, nbytes: int) -> Location:
        """A new place in the arena for the next step or steps."""
        storage = Storage(Kind.ARENA, nbytes)
        self.storages.append(storage)
        return Location(storage)

    def alias(self, name: str, of: str, offset: int = 0) -> None:
        """Let ``name`` be the bytes of ``of``, ``offset`` bytes further."""
        base = self.locate(of)
        self.places[name] = Location(base.storage, base.offset + offset)

    def step(self, operation: str, places: list[Location | None], numbers: list[int]) -> None:
        for place_ in places:
            if place_ is not None:
                place_.storage.touch(len(self.steps))
        self.steps.append((operation, places, numbers))


Emitter = Callable[[Builder, Group], None]


def make_plan(
    graph: Graph,
    groups: list[Group],
    sizes: Mapping[str, int],
    constants: Constants,
    emit: Emitter,
    machine: Machine,
) -> Plan:
    """Plan ``graph``, whose nodes are grouped into ``groups``, for the given symbol sizes."""
    builder = Builder(graph, sizes, constants, machine)
    for index, name in enumerate(graph.inputs):
        builder.places[name] = Location(Storage(Kind.INPUT, builder.nbytes(name), index))
    for group in groups:
        emit(builder, group)
    for index, name in enumerate(graph.outputs.values()):
        _deliver(builder, name, index)
    arena = place([s for s in builder.storages if s.kind is Kind.ARENA and s.last >= 0])
    outputs = [(builder.dtype(name), builder.shape(name)) for name in graph.outputs.values()]
    slots: dict[SlotText, int] = {}
    steps = [(op, [_slot(slots, p) for p in places], nums) for op, places, nums in builder.steps]
    return Plan(steps, list(slots), arena, outputs)


def _deliver(builder: Builder, name: str, index: int) -> None:
    """Let value ``name`` be made in output ``index``, or copy it there."""
    here, nbytes = builder.locate(name), builder.nbytes(name)
    storage = here.storage
    if storage.kind is Kind.ARENA and here.offset == 0 and storage.nbytes == nbytes:
        storage.kind, storage.base = Kind.OUTPUT, index
        return
    there = Location(Storage(Kind.OUTPUT, nbytes, index))
    builder.step("copy", [here, there], [1, 1, 2, 1, nbytes, 0, 1, 0, 1])


def _slot(slots: dict[SlotText, int], place_: Location | None) -> int:
    if place_ is None:
        return -1
    key = (int(place_.storage.kind), place_.storage.base, place_.offset)
    return slots.setdefault(key, len(slots))
