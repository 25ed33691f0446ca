"""Names of values, and of functions: an operator, its static attributes, its operands.

``requantize_uint8``, ``attention_6_uint8_mask``, ``reshape_0xm1x192``, ``concat_1_of3``. A name and
a number of operands determine a function's body, so a loader can generate the body it expects.
"""

from __future__ import annotations

import difflib
import math
import re

from intformer.arith import SATURATION
from intformer.artifact import schema
from intformer.errors import ArtifactError
from intformer.ir.graph import Attribute
from intformer.ir.operators import OPERATORS
from intformer.ir.specification import Operator

_NUMBER = re.compile(r"(0|m?[1-9][0-9]*)")
_EMPTY = "none"


def check_name(name: str) -> None:
    """Raise ``ArtifactError`` unless ``name`` may name a value: printable, not empty, not long."""
    if not name or len(name) > schema.MAX_NAME or not name.isprintable():
        raise ArtifactError(
            f"value name {name[:40]!r} must have 1 to {schema.MAX_NAME} printable characters"
        )


def function_name(op: str, attrs: dict[str, Attribute], operands: int) -> str:
    """Name of the function for ``op`` with the static attributes in ``attrs``.

    Raises:
        ArtifactError: a static attribute is beyond what the format allows.
    """
    spec = OPERATORS[op]
    static = {key: attrs[key] for key in spec.static}
    _check_static(op, static, operands)
    tokens = [op, *(_spell(value) for value in static.values())]
    return "_".join(tokens + _operand_tokens(spec, operands))


def _unknown(name: str, operands: int) -> ArtifactError:
    """The error for a name of no function, with a few operators whose names are like it."""
    nearest = difflib.get_close_matches(name[:80], OPERATORS, 5, cutoff=0)
    return ArtifactError(
        f"function {name[:80]!r} with {operands} inputs is unknown; "
        f"known operators nearest to it: {', '.join(nearest)}"
    )


def parse_function_name(name: str, operands: int) -> tuple[str, dict[str, Attribute]]:
    """Operator and static attributes behind ``name``, called with ``operands`` inputs.

    Raises:
        ArtifactError: it is not the name of any function of this format.
    """
    matches = [op for op in OPERATORS if name == op or name.startswith(op + "_")]
    if not matches or len(name) > schema.MAX_FUNCTION_NAME:
        raise _unknown(name, operands)
    op = max(matches, key=len)
    kinds = OPERATORS[op].static
    tokens = name[len(op) + 1 :].split("_") if name != op else []
    if len(tokens) < len(kinds):
        raise _unknown(name, operands)
    try:
        values = [_read(token, kind) for token, kind in zip(tokens, kinds.values(), strict=False)]
    except ValueError:
        raise _unknown(name, operands) from None
    static = dict(zip(kinds, values, strict=True))
    if function_name(op, static, operands) != name:
        raise _unknown(name, operands)
    return op, static


def _operand_tokens(spec: Operator, operands: int) -> list[str]:
    """What tells variants with different operands apart."""
    if spec.operands[-1].variadic:
        return [f"of{operands}"]
    return [operand.name for operand in spec.operands[:operands] if operand.optional]


def _spell(value: Attribute) -> str:
    if isinstance(value, tuple):
        return "x".join(_spell(v) for v in value) or _EMPTY
    if isinstance(value, int):
        return f"m{-value}" if value < 0 else str(value)
    return str(value)


def _read(token: str, kind: type) -> Attribute:
    if kind is str:
        return _dtype(token)
    if kind is tuple:
        return () if token == _EMPTY else tuple(_integer(part) for part in token.split("x"))
    return _integer(token)


def _dtype(token: str) -> str:
    if token not in SATURATION:
        raise ValueError(token)
    return token


def _integer(token: str) -> int:
    if not _NUMBER.fullmatch(token):
        raise ValueError(token)
    return int(token.replace("m", "-"))


def _check_static(op: str, static: dict[str, Attribute], operands: int) -> None:
    for key, value in static.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if len(numbers) > schema.MAX_RANK:
            raise ArtifactError(
                f"{op}: {key} has {len(numbers)} entries, at most {schema.MAX_RANK}"
            )
        if any(isinstance(v, int) and abs(v) > schema.MAX_STATIC for v in numbers):
            raise ArtifactError(f"{op}: {key} = {value} is beyond 2^31")
    kernel = static.get("kernel", ())
    if isinstance(kernel, tuple) and abs(math.prod(kernel)) > schema.MAX_WINDOWS:
        raise ArtifactError(
            f"{op}: a kernel of {kernel} has more than {schema.MAX_WINDOWS} positions"
        )
    if operands > schema.MAX_OPERANDS:
        raise ArtifactError(f"{op}: {operands} inputs, at most {schema.MAX_OPERANDS}")
