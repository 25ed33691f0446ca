"""Operators of the integer stage for feature maps and windows."""

from __future__ import annotations

from intformer import arith
from intformer.ir import constraints
from intformer.ir.specification import DTYPE, SOFTMAX_DYNAMIC, WINDOWED, ZERO, Operand, Operator

FACTOR = ("uint8", "int8", "int16")
WINDOWS = {"size": tuple, "kernel": tuple, "stride": tuple, "padding": tuple}

IMAGES = (
    Operator(
        "biased_attention",
        arith.biased_attention,
        WINDOWED,
        static={"heads": int, **DTYPE},
        dynamic=SOFTMAX_DYNAMIC,
        constraint=constraints.biased_attention,
    ),
    Operator(
        "softmax",
        arith.softmax,
        (Operand("x", ("int16",)),),
        static=DTYPE,
        dynamic={k: v for k, v in SOFTMAX_DYNAMIC.items() if "zero" not in k},
        constraint=constraints.softmax,
    ),
    Operator(
        "matmul",
        arith.matmul,
        (Operand("a", ("uint8",)), Operand("b", ("uint8",))),
        dynamic={"a_zero": ZERO, "b_zero": ZERO},
        constraint=constraints.matmul,
    ),
    Operator(
        "max",
        arith.max_axis,
        (Operand("x", FACTOR),),
        static={"axis": int, **DTYPE},
    ),
    Operator(
        "depthwise",
        arith.depthwise,
        (
            Operand("x", ("uint8",), rank=4),
            Operand("pad", ("uint8",), rank=1, constant=True),
            Operand("weight", ("int8",), rank=2, constant=True),
            Operand("bias", ("int32",), rank=1, constant=True),
        ),
        static=WINDOWS,
        constraint=constraints.depthwise,
    ),
)
"""Window attention, products of matrices, convolutions of single channels, maxima."""
