"""What the verifier accepts cannot overflow: random operators, every step watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import sequence_operands as sequences
from lockstep import LockstepPrimitives, Pair
from random_operands import (
    Attributes,
    Operands,
    Rng,
    around,
    bits,
    channels_of,
    constant,
    dtype_of,
    variable,
)

import programs
from intformer import arith
from intformer.errors import VerifyError
from intformer.ir.graph import Array, Node
from intformer.ir.interval import Interval
from intformer.ir.operators import OPERATORS, evaluate
from intformer.ir.verify import verify
from intformer.reference import interpret
from intformer.reference.primitives import NumpyPrimitives
from published_programs import published_like, published_windows

ROUNDS = 150


def linear(rng: Rng) -> tuple[Operands, Attributes]:
    bias = str(rng.choice(["int8", "int16", "int32"]))
    return _layer(rng, "uint8", bias), {"x_zero": int(rng.integers(0, 256))}


def linear16(rng: Rng) -> tuple[Operands, Attributes]:
    return _layer(rng, "int16", "int32"), {}


def _layer(rng: Rng, dtype: str, bias: str) -> Operands:
    rows, columns = int(rng.integers(1, 40)), int(rng.integers(1, 9))
    x = variable(rng, dtype, (2, 3, rows))
    return [x, constant(rng, "int8", (rows, columns)), constant(rng, bias, (columns,))]


def unpack4(rng: Rng) -> tuple[Operands, Attributes]:
    columns, groups, half = (int(v) for v in rng.integers(1, 5, 3))
    operands = [
        constant(rng, "uint8", (columns, groups, half)),
        constant(rng, "int8", (columns, groups), int(rng.integers(0, 6))),
    ]
    return operands, {"rows": int(rng.integers(1, 2 * half * groups + 2))}


def related_multiplier(rng: Rng) -> tuple[Operands, Attributes]:
    operands = [constant(rng, "int32", (6,), bits(rng)), constant(rng, "int8", (6,))]
    return operands, {"factor": int(rng.integers(1, 2**31)), "shift": int(rng.integers(1, 63))}


def pair_bias(rng: Rng) -> tuple[Operands, Attributes]:
    values = constant(rng, dtype_of(rng, ("int16", "int32")), (7, 3))
    most = int(rng.integers(1, 9))
    pairs = rng.integers(0, most, (2, 4, 5)).astype(dtype_of(rng, ("uint8", "int16")))
    return [values, (pairs, True)], {}


def turned_positions(rng: Rng) -> tuple[Operands, Attributes]:
    a, b, half = (int(v) for v in rng.integers(1, 5, 3))
    operands = [constant(rng, "int16", (rows, 2 * half), 1) for rows in (a, b)]
    operands.append(constant(rng, "uint8", (a, b, half)))
    return operands, {"rows": int(rng.integers(1, a * b + 2)), "width": 2 * half}


def requantize(rng: Rng) -> tuple[Operands, Attributes]:
    operands = [
        variable(rng, dtype_of(rng), (2, 5), bits(rng)),
        constant(rng, "int32", channels_of(rng, 5), bits(rng)),
        constant(rng, "int64", channels_of(rng, 5), bits(rng)),
    ]
    return operands, {"shift": int(rng.integers(1, 63)), "dtype": dtype_of(rng)}


def add(rng: Rng) -> tuple[Operands, Attributes]:
    operands = [variable(rng, dtype_of(rng), (2, 5), bits(rng)) for _ in range(2)]
    operands += [constant(rng, "int32", channels_of(rng, 5), bits(rng)) for _ in range(2)]
    operands.append(constant(rng, "int64", channels_of(rng, 5), bits(rng)))
    return operands, {"shift": int(rng.integers(1, 63)), "dtype": dtype_of(rng)}


def table(rng: Rng) -> tuple[Operands, Attributes]:
    entries = constant(rng, dtype_of(rng, ("uint8", "int8", "int16")), (256,))
    return [variable(rng, "uint8", (3, 40)), entries], {}


def norm(rng: Rng) -> tuple[Operands, Attributes]:
    channels = int(rng.choice([1, 2, 3, 16, 33, 100]))
    operands = [
        variable(rng, dtype_of(rng, ("int16", "int8")), (3, channels), bits(rng)),
        constant(rng, "int32", channels_of(rng, channels), bits(rng)),
        constant(rng, "int64", channels_of(rng, channels), bits(rng)),
    ]
    eps, shift = int(2.0 ** rng.uniform(0, 44)), int(rng.integers(1, 63))
    return operands, {"channels": channels, "eps": eps, "shift": shift, "dtype": dtype_of(rng)}


def norm20(rng: Rng) -> tuple[Operands, Attributes]:
    operands, attrs = norm(rng)
    high = int(rng.integers(1, 2**19))
    x = rng.integers(-high, high, operands[0][0].shape).astype(np.int32)
    return [(x, Interval("int32", x.shape, -high, high)), *operands[1:]], attrs


def l1_norm(rng: Rng) -> tuple[Operands, Attributes]:
    operands, attrs = norm(rng)
    return operands, {**attrs, "eps": int(2.0 ** rng.uniform(0, 30))}


def attention(rng: Rng) -> tuple[Operands, Attributes]:
    heads, size, keys = (int(v) for v in rng.integers(1, 5, 3))
    width = heads * size
    operands = [variable(rng, "uint8", (2, n, width)) for n in (3, keys, keys)]
    if rng.random() < 0.5:
        operands.append(variable(rng, "uint8", (2, keys)))
    attrs = {name: int(rng.integers(0, 256)) for name in ("q_zero", "k_zero", "v_zero")}
    attrs |= {"limit": int(2 ** rng.uniform(8, 20)), "multiplier": int(2 ** rng.uniform(8, 14))}
    attrs |= {"exp_shift": int(rng.integers(1, 12)), "gain": int(2 ** rng.uniform(0, 40))}
    attrs |= {
        "offset": int(around(rng, "int64", (), bits(rng))),
        "shift": int(rng.integers(1, 63)),
    }
    return operands, {"heads": heads, "dtype": dtype_of(rng), **attrs}


def published_attention(kind: str, rng: Rng) -> tuple[Operands, Attributes]:
    operands, attrs = attention(rng)
    attrs |= {"gain": int(2 ** rng.uniform(0, 26)), "exp_shift": int(rng.integers(6, 16))}
    attrs |= {"unit": int(2 ** rng.uniform(0, 10))} if kind == "shift" else {}
    attrs |= {"bits": int(rng.integers(1, 16))} if kind != "log2" else {}
    return operands, attrs


def newton_norm(rng: Rng) -> tuple[Operands, Attributes]:
    operands, attrs = norm(rng)
    return operands, {**attrs, "start": int(rng.choice([0, 16]))}


def shift_gelu(rng: Rng) -> tuple[Operands, Attributes]:
    attrs: Attributes = {"zero": int(rng.integers(256)), "unit": int(2 ** rng.uniform(0, 10))}
    attrs |= {"octaves": int(rng.integers(1, 22)), "multiplier": int(2 ** rng.uniform(0, 30))}
    attrs["dtype"] = dtype_of(rng, ("uint8", "int8", "int16"))
    attrs["offset"] = int(around(rng, "int64", (), bits(rng)))
    return [variable(rng, "uint8", (3, 9))], {**attrs, "shift": int(rng.integers(1, 63))}


def biased_attention(rng: Rng) -> tuple[Operands, Attributes]:
    heads, size, wide, keys, windows = (int(v) for v in rng.integers(1, 5, 5))
    _, attrs = attention(rng)
    widths = (heads * size, heads * size, heads * wide)
    operands = [
        variable(rng, "uint8", (2, windows, n, width))
        for n, width in zip((3, keys, keys), widths, strict=True)
    ]
    shape = [windows, heads, 3, keys]
    shape[int(rng.integers(3))] = 1
    operands.append(constant(rng, "int32", tuple(shape), bits(rng)))
    return operands, {**attrs, "heads": heads}


def published_windowed(kind: str, rng: Rng) -> tuple[Operands, Attributes]:
    operands, attrs = biased_attention(rng)
    _, other = published_attention(kind, rng)
    return operands, {**other, "heads": attrs["heads"]}


def softmax(rng: Rng) -> tuple[Operands, Attributes]:
    _, attrs = attention(rng)
    unwanted = ("heads", "q_zero", "k_zero", "v_zero")
    operands = [variable(rng, "int16", (3, 9), bits(rng))]
    return operands, {k: v for k, v in attrs.items() if k not in unwanted}


def matmul(rng: Rng) -> tuple[Operands, Attributes]:
    rows, depth, columns = (int(v) for v in rng.integers(1, 9, 3))
    operands = [
        variable(rng, "uint8", (2, rows, depth)),
        variable(rng, "uint8", (1, depth, columns)),
    ]
    return operands, {f"{name}_zero": int(rng.integers(0, 256)) for name in "ab"}


def largest(rng: Rng) -> tuple[Operands, Attributes]:
    dtype = dtype_of(rng, ("uint8", "int8", "int16"))
    return [variable(rng, dtype, (3, 4, 5))], {"axis": int(rng.integers(-3, 3)), "dtype": dtype}


def depthwise(rng: Rng) -> tuple[Operands, Attributes]:
    operands, attrs = patches(rng)
    (x, _), kernel = operands[0], attrs["kernel"]
    operands.append(constant(rng, "int8", (kernel[0] * kernel[1], x.shape[3])))
    return [*operands, constant(rng, "int32", (x.shape[3],), bits(rng))], attrs


def embedding(rng: Rng) -> tuple[Operands, Attributes]:
    rows = int(rng.integers(1, 9))
    ids = rng.integers(0, rows, (2, 4)).astype(dtype_of(rng, ("int32", "int64")))
    operands = [(ids, False), constant(rng, "int8", (rows, 5))]
    operands.append(constant(rng, "int32", (rows,), bits(rng)))
    return operands, {"shift": int(rng.integers(1, 45)), "dtype": dtype_of(rng)}


def positions(rng: Rng) -> tuple[Operands, Attributes]:
    rows = int(rng.integers(3, 9))
    return [variable(rng, "int32", (2, 4)), constant(rng, "int16", (rows, 5))], {}


def total(rng: Rng) -> tuple[Operands, Attributes]:
    x = variable(rng, dtype_of(rng), (2, 5, 3), bits(rng))
    return [x], {"axis": int(rng.integers(-3, 3))}


def patches(rng: Rng) -> tuple[Operands, Attributes]:
    attrs = {
        "size": (6, 7),
        "kernel": tuple(int(v) for v in rng.integers(1, 4, 2)),
        "stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
        "padding": tuple(int(v) for v in rng.integers(0, 3, 2)),
    }
    return [variable(rng, "uint8", (1, 6, 7, 3)), constant(rng, "uint8", (3,))], attrs


def reshape(rng: Rng) -> tuple[Operands, Attributes]:
    shapes = [(0, -1), (0, 0, 0), (-1, 6), (24,), (2, 2, 6), (0, 3, 4)]
    return [any_variable(rng)], {"shape": shapes[rng.integers(len(shapes))]}


def transpose(rng: Rng) -> tuple[Operands, Attributes]:
    return [any_variable(rng)], {"perm": tuple(int(p) for p in rng.permutation(3))}


def sliced(rng: Rng) -> tuple[Operands, Attributes]:
    start, stop = sorted(int(v) for v in rng.integers(0, 7, 2))
    return [any_variable(rng)], {"axis": int(rng.integers(-3, 3)), "start": start, "stop": stop}


def concat(rng: Rng) -> tuple[Operands, Attributes]:
    dtype = dtype_of(rng, programs.NUMBERS)
    parts = [variable(rng, dtype, (2, 2, 6)) for _ in range(int(rng.integers(1, 4)))]
    return parts, {"axis": int(rng.integers(-3, 3))}


def repeat_batch(rng: Rng) -> tuple[Operands, Attributes]:
    row = constant(rng, dtype_of(rng, programs.NUMBERS), (1, 3))
    return [row, variable(rng, "uint8", (4, 2))], {}


def any_variable(rng: Rng) -> Any:
    return variable(rng, dtype_of(rng, programs.NUMBERS), (2, 2, 6))


GENERATORS: dict[str, Callable[[Rng], tuple[Operands, Attributes]]] = {
    "linear": linear,
    "linear16": linear16,
    "unpack4": unpack4,
    "related_multiplier": related_multiplier,
    "pair_bias": pair_bias,
    "turned_positions": turned_positions,
    "requantize": requantize,
    "add": add,
    "table": table,
    "layer_norm": norm,
    "rms_norm": norm,
    "layer_norm20": norm20,
    "rms_norm20": norm20,
    "attention": attention,
    "shift_attention": partial(published_attention, "shift"),
    "quadratic_attention": partial(published_attention, "quadratic"),
    "log2_attention": partial(published_attention, "log2"),
    "newton_norm": newton_norm,
    "shift_gelu": shift_gelu,
    "biased_attention": biased_attention,
    "biased_shift_attention": partial(published_windowed, "shift"),
    "biased_quadratic_attention": partial(published_windowed, "quadratic"),
    "biased_log2_attention": partial(published_windowed, "log2"),
    "softmax": softmax,
    "matmul": matmul,
    "max": largest,
    "depthwise": depthwise,
    "embedding": embedding,
    "positions": positions,
    "sum": total,
    "argmax": total,
    "patches": patches,
    "reshape": reshape,
    "transpose": transpose,
    "slice": sliced,
    "concat": concat,
    "repeat_batch": repeat_batch,
    "l1_norm": l1_norm,
    "causal_attention": sequences.causal_attention,
    "polynomial_attention": sequences.polynomial_attention,
    "causal_polynomial_attention": sequences.causal_polynomial_attention,
    "multiply": sequences.multiply,
    "rotary": sequences.rotary,
    "append_rows": sequences.append_rows,
    "positions_at": sequences.positions_at,
    "tied_embedding": sequences.tied_embedding,
}


def paired(array: Array, is_constant: bool) -> Pair:
    """A constant with all that is known of it, or an input of which only the range is known."""
    if is_constant:
        return Pair(array, Interval.constant(array), "constant")
    low, high = int(array.min()), int(array.max())
    return Pair(array, Interval(str(array.dtype), array.shape, low, high), "input")


def test_every_operator_has_a_generator() -> None:
    assert set(GENERATORS) == set(OPERATORS)


@pytest.mark.parametrize("op", GENERATORS)
def test_accepted_operators_never_leave_their_intervals(op: str) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(ROUNDS):
        operands, attrs = GENERATORS[op](np.random.default_rng(seed))
        node = Node(op, tuple("x" * len(operands)), ("y",), attrs)
        try:
            OPERATORS[op].constraint(attrs, [array.shape for array, _ in operands])
            watched = evaluate(LockstepPrimitives(), node, [paired(*o) for o in operands])
        except VerifyError:
            outcomes["rejected"] += 1
            continue
        outcomes["accepted"] += 1
        result = evaluate(NumpyPrimitives(), node, [array for array, _ in operands])
        assert result.dtype == watched.proof.dtype
        assert (result == watched.numbers).all()
    assert outcomes["accepted"] >= ROUNDS // 10, outcomes


MODELS = {
    "vit_like": programs.vit_like,
    "bert_like": programs.bert_like,
    "published_like": published_like,
    "published_windows": published_windows,
}


@pytest.mark.parametrize("name", [*programs.single_operator_cases(), *MODELS])
def test_values_of_a_program_stay_in_their_proved_ranges(name: str) -> None:
    graph = (MODELS | programs.single_operator_cases())[name]()
    ranges = verify(graph).ranges

    def observe(value: str, array: Array) -> None:
        low, high = ranges[value]
        assert low <= int(array.min()) and int(array.max()) <= high, value

    interpret(graph, programs.random_inputs(graph, {"N": 3, "S": 9}), observer=observe)


def test_bounds_are_exact_where_products_pass_64_bits() -> None:
    """The proof itself must not wrap: this product is 2^66 in the proof, and refused."""
    big = Interval("int64", (4,), -(2**33), 2**33)
    low = LockstepPrimitives().proofs.where(big >= 0, big, big)
    with pytest.raises(VerifyError, match="73786976294838206464"):
        low * low


def test_a_matmul_bound_is_attained() -> None:
    """Weights and input ranges give the tightest interval, not a loose one."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, (7, 5)).astype(np.int8)
    xp = LockstepPrimitives().proofs
    x = Interval("uint8", (1, 7), 3, 250)
    bias = Interval.constant(np.int32([9] * 5))
    result = arith.linear(xp, x, Interval.constant(weight), bias, x_zero=77)
    corners = np.array(np.meshgrid(*[[3 - 77, 250 - 77]] * 7)).reshape(7, -1).T
    sums = corners @ weight.astype(int) + 9
    assert (result.low == sums.min(0)).all() and (result.high == sums.max(0)).all()
