"""Random operands of the sequence operators, for the proofs."""

from __future__ import annotations

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

ZEROS = ("q_zero", "k_zero", "v_zero")


def position(rng: Rng, top: int) -> Operands:
    return [(rng.integers(0, top, 2, endpoint=True), False)] if rng.random() < 0.5 else []


def mixing(rng: Rng) -> Attributes:
    attrs = {name: int(rng.integers(0, 256)) for name in ZEROS}
    attrs |= {"gain": int(2 ** rng.uniform(0, 40)), "shift": int(rng.integers(1, 63))}
    return {**attrs, "offset": int(around(rng, "int64", (), bits(rng))), "dtype": dtype_of(rng)}


def causal_attention(rng: Rng) -> tuple[Operands, Attributes]:
    group, kv_heads, size, keys = (int(v) for v in rng.integers(1, 4, 4))
    heads = group * kv_heads
    operands = [variable(rng, "uint8", (2, 3, heads * size))]
    operands += [variable(rng, "uint8", (2, keys, kv_heads * size)) for _ in range(2)]
    attrs = {"limit": int(2 ** rng.uniform(18, 21)), "exp_shift": int(rng.integers(1, 12))}
    attrs["multiplier"] = int(2 ** rng.uniform(4, 11))
    attrs |= {"heads": heads, "kv_heads": kv_heads, **mixing(rng)}
    return operands + position(rng, keys), attrs


def polynomial_attention(rng: Rng, *, causal: bool = False) -> tuple[Operands, Attributes]:
    heads, size, keys = (int(v) for v in rng.integers(1, 5, 3))
    power = int(rng.integers(1, 5))
    operands = [variable(rng, "uint8", (2, n, heads * size)) for n in (3, keys, keys)]
    operands.append(constant(rng, "int32", (heads,), 8 + bits(rng) // 2))
    floor = around(rng, "int32", (heads,), 10)
    operands.append((abs(floor) + 1, True))
    attrs = {"limit": int(2 ** rng.uniform(8, 16)), "multiplier": int(2 ** rng.uniform(8, 14))}
    attrs |= {"poly_shift": int(rng.integers(1, 20)), "heads": heads, "power": power}
    extra = position(rng, keys) if causal else []
    if not causal and rng.random() < 0.5:
        extra = [variable(rng, "uint8", (2, keys))]
    return operands + extra, {**attrs, **mixing(rng)}


def causal_polynomial_attention(rng: Rng) -> tuple[Operands, Attributes]:
    return polynomial_attention(rng, causal=True)


def multiply(rng: Rng) -> tuple[Operands, Attributes]:
    narrow = ("uint8", "int8", "int16")
    operands = [variable(rng, dtype_of(rng, narrow), (2, 5)) for _ in range(2)]
    operands.append(constant(rng, "int32", channels_of(rng, 5), bits(rng)))
    operands.append(constant(rng, "int64", channels_of(rng, 5), bits(rng)))
    attrs = {name: int(rng.integers(0, 256)) for name in ("a_zero", "b_zero")}
    return operands, {**attrs, "shift": int(rng.integers(1, 63)), "dtype": dtype_of(rng)}


def rotary(rng: Rng) -> tuple[Operands, Attributes]:
    heads, half, rows = (int(v) for v in rng.integers(1, 5, 3))
    operands = [variable(rng, "int16", (2, 3, 2 * heads * half))]
    operands += [constant(rng, "int16", (rows, half), 1) for _ in range(2)]
    return operands + position(rng, rows), {"heads": heads, "size": 2 * half, "rows": rows}


def append_rows(rng: Rng) -> tuple[Operands, Attributes]:
    length, tokens = (int(v) for v in rng.integers(1, 6, 2))
    operands = [variable(rng, "uint8", (2, n, 3)) for n in (length, tokens)]
    return [*operands, (rng.integers(0, length, 2, endpoint=True), False)], {}


def positions_at(rng: Rng) -> tuple[Operands, Attributes]:
    rows = int(rng.integers(1, 9))
    operands = [variable(rng, "int32", (2, 4)), constant(rng, "int16", (rows, 5))]
    return [*operands, (rng.integers(0, rows, 2), False)], {"rows": rows}


def tied_embedding(rng: Rng) -> tuple[Operands, Attributes]:
    rows = int(rng.integers(1, 9))
    ids = rng.integers(0, rows, (2, 4)).astype(dtype_of(rng, ("int32", "int64")))
    operands = [(ids, False), constant(rng, "int8", (5, rows))]
    operands.append(constant(rng, "int32", (rows,), bits(rng)))
    return operands, {"shift": int(rng.integers(1, 45)), "dtype": dtype_of(rng)}
