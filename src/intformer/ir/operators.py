"""The operators of the integer stage: their inputs, attributes and meaning.

One table drives the verifier, the interpreters, the artifact and its loader. ``static`` attributes
shape the computation (a dtype, an axis, a kernel size) and become part of a function's name in the
artifact; ``dynamic`` attributes are single integers within stated bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from intformer import arith
from intformer.errors import VerifyError
from intformer.ir import constraints
from intformer.ir.graph import Attribute, Node
from intformer.ir.images import IMAGES
from intformer.ir.published import PUBLISHED
from intformer.ir.specification import (
    ACTIVATION,
    DTYPE,
    INT64,
    MULTIPLIER,
    NORM20_OPERANDS,
    NORM_DYNAMIC,
    NORM_OPERANDS,
    NUMBERS,
    OFFSET,
    POLYNOMIAL,
    POLYNOMIAL_DYNAMIC,
    POSITION,
    QKV,
    SHIFT,
    SOFTMAX_DYNAMIC,
    ZERO,
    Operand,
    Operator,
)
from intformer.ir.stored import STORED


def _concat(xp: arith.Primitives, *xs: Any, axis: int) -> Any:
    return xp.concat(list(xs), axis)


def _slice(xp: arith.Primitives, x: Any, *, axis: int, start: int, stop: int) -> Any:
    return xp.slice(x, axis, start, stop)


_ALL = (
    Operator(
        "linear",
        arith.linear,
        (
            Operand("x", ("uint8",)),
            Operand("weight", ("int8",), rank=2, constant=True),
            Operand("bias", ("int8", "int16", "int32"), rank=1, constant=True),
        ),
        dynamic={"x_zero": ZERO},
        constraint=constraints.linear,
    ),
    Operator(
        "linear16",
        arith.linear16,
        (
            Operand("x", ("int16",)),
            Operand("weight", ("int8",), rank=2, constant=True),
            Operand("bias", ("int32",), rank=1, constant=True),
        ),
        constraint=constraints.linear,
    ),
    Operator(
        "requantize",
        arith.requantize,
        (Operand("x", ACTIVATION), MULTIPLIER, OFFSET),
        static=DTYPE,
        dynamic={"shift": SHIFT},
        constraint=constraints.requantize,
    ),
    Operator(
        "add",
        arith.add,
        (
            Operand("a", ACTIVATION),
            Operand("b", ACTIVATION),
            Operand("a_multiplier", ("int32",), rank=1, constant=True),
            Operand("b_multiplier", ("int32",), rank=1, constant=True),
            OFFSET,
        ),
        static=DTYPE,
        dynamic={"shift": SHIFT},
        constraint=constraints.add,
    ),
    Operator(
        "table",
        arith.table,
        (
            Operand("x", ("uint8",)),
            Operand("entries", ("uint8", "int8", "int16"), rank=1, constant=True),
        ),
        constraint=constraints.table,
    ),
    Operator(
        "layer_norm",
        arith.layer_norm,
        NORM_OPERANDS,
        static={"channels": int, **DTYPE},
        dynamic=NORM_DYNAMIC,
        constraint=constraints.norm,
    ),
    Operator(
        "rms_norm",
        arith.rms_norm,
        NORM_OPERANDS,
        static={"channels": int, **DTYPE},
        dynamic=NORM_DYNAMIC,
        constraint=constraints.norm,
    ),
    Operator(
        "layer_norm20",
        partial(arith.layer_norm, width=20),
        NORM20_OPERANDS,
        static={"channels": int, **DTYPE},
        dynamic=NORM_DYNAMIC,
        constraint=constraints.norm20,
    ),
    Operator(
        "rms_norm20",
        partial(arith.rms_norm, width=20),
        NORM20_OPERANDS,
        static={"channels": int, **DTYPE},
        dynamic=NORM_DYNAMIC,
        constraint=constraints.norm20,
    ),
    Operator(
        "l1_norm",
        arith.l1_norm,
        NORM_OPERANDS,
        static={"channels": int, **DTYPE},
        dynamic={"eps": (1, 2**30), "shift": SHIFT},
        constraint=constraints.norm,
    ),
    Operator(
        "attention",
        arith.attention,
        (
            Operand("q", ("uint8",), rank=3),
            Operand("k", ("uint8",), rank=3),
            Operand("v", ("uint8",), rank=3),
            Operand("mask", ("uint8",), rank=2, optional=True),
        ),
        static={"heads": int, **DTYPE},
        dynamic={
            "q_zero": ZERO,
            "k_zero": ZERO,
            "v_zero": ZERO,
            "limit": (1, 2**30),
            "multiplier": (1, 2**30),
            "exp_shift": (1, 30),
            "gain": (1, 2**40),
            "offset": INT64,
            "shift": SHIFT,
        },
        constraint=constraints.attention,
    ),
    Operator(
        "causal_attention",
        arith.causal_attention,
        (*QKV, POSITION),
        static={"heads": int, "kv_heads": int, **DTYPE},
        dynamic=SOFTMAX_DYNAMIC,
        constraint=constraints.causal_attention,
    ),
    Operator(
        "polynomial_attention",
        arith.polynomial_attention,
        (*QKV, *POLYNOMIAL, Operand("mask", ("uint8",), rank=2, optional=True)),
        static={"heads": int, "power": int, **DTYPE},
        dynamic=POLYNOMIAL_DYNAMIC,
        constraint=constraints.polynomial_attention,
    ),
    Operator(
        "causal_polynomial_attention",
        arith.causal_polynomial_attention,
        (*QKV, *POLYNOMIAL, POSITION),
        static={"heads": int, "power": int, **DTYPE},
        dynamic=POLYNOMIAL_DYNAMIC,
        constraint=constraints.causal_polynomial_attention,
    ),
    Operator(
        "multiply",
        arith.multiply,
        (
            Operand("a", ("uint8", "int8", "int16")),
            Operand("b", ("uint8", "int8", "int16")),
            MULTIPLIER,
            OFFSET,
        ),
        static=DTYPE,
        dynamic={"a_zero": ZERO, "b_zero": ZERO, "shift": SHIFT},
        constraint=constraints.multiply,
    ),
    Operator(
        "rotary",
        arith.rotary,
        (
            Operand("x", ("int16",), rank=3),
            Operand("cosine", ("int16",), rank=2, constant=True),
            Operand("sine", ("int16",), rank=2, constant=True),
            POSITION,
        ),
        static={"heads": int, "size": int, "rows": int},
        constraint=constraints.rotary,
    ),
    Operator(
        "append_rows",
        arith.append_rows,
        (
            Operand("cache", ("uint8",), rank=3),
            Operand("new", ("uint8",), rank=3),
            Operand("position", ("int64",), rank=1),
        ),
        constraint=constraints.append_rows,
    ),
    Operator(
        "positions_at",
        arith.positions_at,
        (
            Operand("ids", ("int64", "int32"), rank=2),
            Operand("table", ("int16", "int8"), rank=2, constant=True),
            Operand("position", ("int64",), rank=1),
        ),
        static={"rows": int},
        constraint=constraints.positions_at,
    ),
    Operator(
        "tied_embedding",
        arith.tied_embedding,
        (
            Operand("ids", ("int64", "int32")),
            Operand("weight", ("int8",), rank=2, constant=True),
            MULTIPLIER,
        ),
        static=DTYPE,
        dynamic={"shift": SHIFT},
        constraint=constraints.tied_embedding,
    ),
    Operator(
        "embedding",
        arith.embedding,
        (
            Operand("ids", ("int64", "int32")),
            Operand("rows", ("int8",), rank=2, constant=True),
            MULTIPLIER,
        ),
        static=DTYPE,
        dynamic={"shift": SHIFT},
        constraint=constraints.embedding,
    ),
    Operator(
        "positions",
        lambda xp, like, table: xp.leading_rows(table, like),
        (Operand("like", NUMBERS), Operand("table", ("int16", "int8"), rank=2, constant=True)),
        constraint=constraints.positions,
    ),
    Operator("sum", arith.sum_axis, (Operand("x", ACTIVATION),), static={"axis": int}),
    Operator(
        "argmax",
        lambda xp, x, *, axis: xp.argmax(xp.cast(x, "int32"), axis),
        (Operand("x", ACTIVATION),),
        static={"axis": int},
    ),
    Operator(
        "patches",
        arith.patches,
        (
            Operand("x", ("uint8",), rank=4),
            Operand("pad", ("uint8",), rank=1, constant=True),
        ),
        static={"size": tuple, "kernel": tuple, "stride": tuple, "padding": tuple},
        constraint=constraints.patches,
    ),
    Operator(
        "reshape",
        lambda xp, x, *, shape: xp.reshape(x, shape),
        (Operand("x", NUMBERS),),
        static={"shape": tuple},
    ),
    Operator(
        "transpose",
        lambda xp, x, *, perm: xp.transpose(x, perm),
        (Operand("x", NUMBERS),),
        static={"perm": tuple},
    ),
    Operator(
        "slice",
        _slice,
        (Operand("x", NUMBERS),),
        static={"axis": int, "start": int, "stop": int},
    ),
    Operator(
        "concat",
        _concat,
        (Operand("x", NUMBERS, variadic=True),),
        static={"axis": int},
    ),
    Operator(
        "repeat_batch",
        lambda xp, x, like: xp.repeat_batch(x, like),
        (Operand("x", NUMBERS, constant=True), Operand("like", NUMBERS)),
    ),
)

OPERATORS: dict[str, Operator] = {
    operator.name: operator for operator in (*_ALL, *PUBLISHED, *IMAGES, *STORED)
}
"""Every operator of the integer stage by name."""


def specification(node: Node) -> Operator:
    """The specification of ``node``, after checking its operator and the form of its attributes.

    Raises:
        VerifyError: unknown operator; missing, unknown, ill-typed or out-of-bounds attribute.
    """
    spec = OPERATORS.get(node.op)
    where = f"{node.op} at '{node.name or node.outputs[0]}'"
    if spec is None:
        raise VerifyError(f"{where}: unknown operator; known: {', '.join(sorted(OPERATORS))}")
    missing, unknown = spec.attributes - set(node.attrs), set(node.attrs) - spec.attributes
    if missing or unknown:
        what = f"lacks {sorted(missing)}" if missing else f"has unknown {sorted(unknown)}"
        raise VerifyError(f"{where}: {what} among its attributes")
    for key, value in node.attrs.items():
        _check_attribute(where, spec, key, value)
    return spec


def _check_attribute(where: str, spec: Operator, key: str, value: Attribute) -> None:
    if key in spec.dynamic:
        low, high = spec.dynamic[key]
        if type(value) is not int or not low <= value <= high:
            raise VerifyError(f"{where}: {key} = {value!r} must be an integer in [{low}, {high}]")
        return
    kind = spec.static[key]
    if type(value) is not kind:
        raise VerifyError(f"{where}: {key} = {value!r} must be of type {kind.__name__}")
    if isinstance(value, tuple) and not all(type(v) is int for v in value):
        raise VerifyError(f"{where}: {key} = {value!r} must hold integers only")
    if key == "dtype" and value not in arith.SATURATION:
        raise VerifyError(f"{where}: dtype {value!r} is not one of {', '.join(arith.SATURATION)}")


def evaluate(xp: arith.Primitives, node: Node, values: Sequence[Any]) -> Any:
    """Apply ``node`` to ``values`` in the realisation ``xp``."""
    return OPERATORS[node.op].function(xp, *values, **node.attrs)
