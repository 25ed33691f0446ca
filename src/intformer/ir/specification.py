"""What a specification of an integer operator says, and the parts that many of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intformer.ir.graph import Shape

INT64 = (-(2**62), 2**62)
SHIFT = (1, 62)
ZERO = (0, 255)


@dataclass(frozen=True)
class Operand:
    """An input of an operator: its possible dtypes, its rank (None: any), whether it may be absent.

    ``constant`` operands must be graph constants: ranges are proved from their actual values.
    """

    name: str
    dtypes: tuple[str, ...]
    rank: int | None = None
    constant: bool = False
    optional: bool = False
    variadic: bool = False


Constraint = Callable[[dict[str, Any], Sequence[Shape]], None]


def _unconstrained(attrs: dict[str, Any], operands: Sequence[Shape]) -> None:
    pass


@dataclass(frozen=True)
class Operator:
    """Specification of one integer operator.

    ``constraint`` raises VerifyError unless attributes and operand shapes fit each other.
    """

    name: str
    function: Callable[..., Any]
    operands: tuple[Operand, ...]
    static: Mapping[str, type] = field(default_factory=dict)
    dynamic: dict[str, tuple[int, int]] = field(default_factory=dict)
    constraint: Constraint = _unconstrained

    @property
    def attributes(self) -> set[str]:
        return set(self.static) | set(self.dynamic)


ACTIVATION = ("uint8", "int8", "int16", "int32")
NUMBERS = ("uint8", "int8", "int16", "int32", "int64")
MULTIPLIER = Operand("multiplier", ("int32",), rank=1, constant=True)
OFFSET = Operand("offset", ("int64",), rank=1, constant=True)

DTYPE = {"dtype": str}
NORM_OPERANDS = (
    Operand("x", ("int16", "int8")),
    Operand("gain", ("int32",), rank=1, constant=True),
    OFFSET,
)
NORM20_OPERANDS = (Operand("x", ("int32",)), *NORM_OPERANDS[1:])
QKV = tuple(Operand(name, ("uint8",), rank=3) for name in "qkv")
WINDOWED = (
    *(Operand(name, ("uint8",), rank=4) for name in "qkv"),
    Operand("bias", ("int32",), rank=4, constant=True),
)
POSITION = Operand("position", ("int64",), rank=1, optional=True)
POLYNOMIAL = (
    Operand("bias", ("int32",), rank=1, constant=True),
    Operand("floor", ("int32",), rank=1, constant=True),
)
MIX_DYNAMIC = {
    "q_zero": ZERO,
    "k_zero": ZERO,
    "v_zero": ZERO,
    "gain": (1, 2**40),
    "offset": INT64,
    "shift": SHIFT,
}
SOFTMAX_DYNAMIC = {
    **MIX_DYNAMIC,
    "limit": (1, 2**30),
    "multiplier": (1, 2**30),
    "exp_shift": (1, 30),
}
POLYNOMIAL_DYNAMIC = {
    **MIX_DYNAMIC,
    "limit": (1, 2**30),
    "multiplier": (1, 2**30),
    "poly_shift": (1, 30),
}
NORM_DYNAMIC = {"eps": (1, 2**60), "shift": SHIFT}
