"""Operators on constants alone: what other operators read, from what a file holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from intformer import arith
from intformer.ir import constraints
from intformer.ir.graph import Array, Node, Shape
from intformer.ir.specification import SHIFT, Operand, Operator

STORED = (
    Operator(
        "unpack4",
        arith.unpack4,
        (
            Operand("packed", ("uint8",), rank=3, constant=True),
            Operand("multiplier", ("int8",), rank=2, constant=True),
        ),
        static={"rows": int},
        constraint=constraints.unpack4,
    ),
    Operator(
        "related_multiplier",
        arith.related_multiplier,
        (
            Operand("source", ("int32",), rank=1, constant=True),
            Operand("rest", ("int8",), rank=1, constant=True),
        ),
        dynamic={"factor": (1, 2**31 - 1), "shift": SHIFT},
        constraint=constraints.related_multiplier,
    ),
    Operator(
        "pair_bias",
        arith.pair_bias,
        (
            Operand("values", ("int16", "int32"), rank=2, constant=True),
            Operand("pairs", ("uint8", "int16"), rank=3, constant=True),
        ),
    ),
    Operator(
        "turned_positions",
        arith.turned_positions,
        (
            Operand("coarse", ("int16",), rank=2, constant=True),
            Operand("fine", ("int16",), rank=2, constant=True),
            Operand("residue", ("uint8",), rank=3, constant=True),
        ),
        static={"rows": int, "width": int},
        constraint=constraints.turned_positions,
    ),
)
"""They are computed once, by the proof and by every backend."""

STORED_NAMES = frozenset(operator.name for operator in STORED)

BLOCK_WEIGHTS = 2**20
"""Weights of 4 bits that are expanded together: what is computed on the way takes 16 times as many
bytes."""


def column_blocks(packed: Array) -> Iterator[slice]:
    """Parts of the output channels of ``unpack4``, which do not depend on each other."""
    step = max(1, BLOCK_WEIGHTS // (2 * math.prod(packed.shape[1:])))
    for first in range(0, len(packed), step):
        yield slice(first, first + step)


def computed_bytes(node: Node, operands: Sequence[Shape]) -> int:
    """Bytes of the result of a node of ``STORED``, whose operands have these shapes."""
    sizes = [math.prod(int(dim) for dim in shape) for shape in operands]
    if node.op == "unpack4":
        return 2 * sizes[0]
    if node.op == "pair_bias":
        return 4 * sizes[1] * int(operands[0][-1])
    return 4 * max(sizes)
