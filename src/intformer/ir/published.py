"""Operators of the integer stage as other papers published them (docs/operators.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from intformer import arith
from intformer.ir import constraints
from intformer.ir.specification import (
    DTYPE,
    INT64,
    NORM_DYNAMIC,
    NORM_OPERANDS,
    QKV,
    SHIFT,
    SOFTMAX_DYNAMIC,
    ZERO,
    Constraint,
    Operand,
    Operator,
)


def _attention(
    name: str,
    function: Callable[..., Any],
    constraint: Constraint,
    static: Mapping[str, type],
    dynamic: Mapping[str, tuple[int, int]],
) -> Operator:
    """An attention whose probabilities are normalised before they meet v."""
    return Operator(
        name,
        function,
        (*QKV, Operand("mask", ("uint8",), rank=2, optional=True)),
        static={"heads": int, **static, **DTYPE},
        dynamic={**SOFTMAX_DYNAMIC, "gain": (1, 2**30), **dynamic},
        constraint=constraint,
    )


PUBLISHED = (
    _attention(
        "shift_attention",
        arith.shift_attention,
        constraints.shift_attention,
        {"bits": int},
        {"unit": (1, 1024)},
    ),
    _attention(
        "quadratic_attention",
        arith.quadratic_attention,
        constraints.quadratic_attention,
        {"bits": int},
        {},
    ),
    _attention("log2_attention", arith.log2_attention, constraints.quadratic_attention, {}, {}),
    Operator(
        "newton_norm",
        arith.newton_norm,
        NORM_OPERANDS,
        static={"channels": int, "start": int, **DTYPE},
        dynamic=NORM_DYNAMIC,
        constraint=constraints.newton_norm,
    ),
    Operator(
        "shift_gelu",
        arith.shift_gelu,
        (Operand("x", ("uint8",)),),
        static={"octaves": int, **DTYPE},
        dynamic={
            "zero": ZERO,
            "unit": (1, 1024),
            "multiplier": (1, 2**30),
            "offset": INT64,
            "shift": SHIFT,
        },
        constraint=constraints.shift_gelu,
    ),
)
"""Attention with Shiftmax, i-exp and log2 softmax, I-LayerNorm, and ShiftGELU with its row's m."""
