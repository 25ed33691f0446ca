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
    WINDOWED,
    ZERO,
    Constraint,
    Operand,
    Operator,
)


def _attentions(
    name: str,
    static: Mapping[str, type],
    dynamic: Mapping[str, tuple[int, int]],
    plain: tuple[Callable[..., Any], Constraint],
    biased: Callable[..., Any],
) -> tuple[Operator, Operator]:
    """An attention whose probabilities are normalised before they meet v, plain and in windows."""
    mask = Operand("mask", ("uint8",), rank=2, optional=True)
    attributes: dict[str, Any] = {
        "static": {"heads": int, **static, **DTYPE},
        "dynamic": {**SOFTMAX_DYNAMIC, "gain": (1, 2**30), **dynamic},
    }
    windows = constraints.biased_probabilities
    return (
        Operator(name, plain[0], (*QKV, mask), constraint=plain[1], **attributes),
        Operator(f"biased_{name}", biased, WINDOWED, constraint=windows, **attributes),
    )


PUBLISHED = (
    *_attentions(
        "shift_attention",
        {"bits": int},
        {"unit": (1, 1024)},
        (arith.shift_attention, constraints.shift_attention),
        arith.biased_shift_attention,
    ),
    *_attentions(
        "quadratic_attention",
        {"bits": int},
        {},
        (arith.quadratic_attention, constraints.quadratic_attention),
        arith.biased_quadratic_attention,
    ),
    *_attentions(
        "log2_attention",
        {},
        {},
        (arith.log2_attention, constraints.quadratic_attention),
        arith.biased_log2_attention,
    ),
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
"""Attention with Shiftmax, i-exp and log2 softmax, plain and inside windows; I-LayerNorm, and
ShiftGELU with its row's m."""
