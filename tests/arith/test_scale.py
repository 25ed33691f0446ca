"""Changes of scale: saturation, requantize, residual add, tables, sums and argmax."""

from __future__ import annotations

import arith_oracles as oracle
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intformer import arith

NARROW = ["uint8", "int8", "int16"]
DTYPES = [*NARROW, "int32"]
RESULTS = [*DTYPES, "uint4", "uint6"]
INT32 = st.integers(-(2**31), 2**31 - 1)
SEEDS = st.integers(0, 2**32 - 1)


def storage(dtype: str) -> str:
    """The element type of a result; fewer levels than a byte has are stored as bytes."""
    return "uint8" if dtype in ("uint4", "uint6") else dtype


@pytest.mark.parametrize("dtype", RESULTS)
@pytest.mark.parametrize("source", ["int32", "int64"])
def test_saturate_clips_to_the_range(dtype: str, source: str) -> None:
    edges = oracle.edges("int32")
    got = oracle.run(arith.saturate, np.array(edges, source), dtype=dtype)
    assert got.dtype == storage(dtype)
    assert got.tolist() == [oracle.clip(v, dtype) for v in edges]


@pytest.mark.parametrize("dtype", RESULTS)
@pytest.mark.parametrize("source", DTYPES)
@given(multiplier=INT32, offset=st.integers(-(2**61), 2**61), data=st.data())
@example(multiplier=2**31 - 1, offset=0, data=None)
@example(multiplier=-(2**31), offset=2**61, data=None)
@example(multiplier=0, offset=-(2**61), data=None)
@example(multiplier=1, offset=1, data=None)
def test_requantize(
    dtype: str, source: str, multiplier: int, offset: int, data: st.DataObject | None
) -> None:
    limit = 2**31 if multiplier != -(2**31) else 2**30
    edges = oracle.edges(source, limit=limit - 1)
    largest = max(abs(v * multiplier) for v in edges) + abs(offset)
    least = oracle.smallest_shift(largest)
    shift = data.draw(st.integers(least, 62)) if data else least
    got = oracle.run(
        arith.requantize,
        np.array(edges, source)[:, None],
        np.array([multiplier], np.int32),
        np.array([offset], np.int64),
        shift=shift,
        dtype=dtype,
    )
    assert got.dtype == storage(dtype)
    assert got[:, 0].tolist() == [
        oracle.rescaled(v * multiplier + offset, shift, dtype) for v in edges
    ]


@given(seed=SEEDS, channels=st.integers(1, 33), shift=st.integers(33, 62))
def test_requantize_per_channel(seed: int, channels: int, shift: int) -> None:
    rng = np.random.default_rng(seed)
    x = oracle.values("int32", (3, channels), seed)
    multiplier = rng.integers(-(2**29), 2**29, channels).astype(np.int32)
    offset = rng.integers(-(2**58), 2**58, channels)
    got = oracle.run(arith.requantize, x, multiplier, offset, shift=shift, dtype="int16")
    for row, wanted in zip(x, got, strict=True):
        terms = zip(row, multiplier, offset, strict=True)
        assert wanted.tolist() == [
            oracle.rescaled(int(v) * int(m) + int(o), shift, "int16") for v, m, o in terms
        ]


@pytest.mark.parametrize("shift", [1, 2, 8, 31])
def test_half_a_step_rounds_towards_plus_infinity(shift: int) -> None:
    ties = np.array([[-3], [-1], [1], [3]], np.int32)
    got = oracle.run(
        arith.requantize,
        ties,
        np.array([2 ** (shift - 1)], np.int32),
        np.array([2 ** (shift - 1)]),
        shift=shift,
        dtype="int8",
    )
    assert got[:, 0].tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sources", [("int16", "int16"), ("int32", "int16"), ("uint8", "int8")])
@settings(max_examples=40)
@given(a=INT32, b=INT32, offset=st.integers(-(2**60), 2**60))
@example(a=2**29, b=-(2**29), offset=0)
@example(a=1, b=1, offset=1)
@example(a=0, b=0, offset=-(2**60))
def test_add(dtype: str, sources: tuple[str, str], a: int, b: int, offset: int) -> None:
    a, b = a >> 2, b >> 2  # both products and the offset together stay below 2^62
    left, right = (np.array(oracle.edges(s)[::4], s) for s in sources)
    grid = np.meshgrid(left, right)
    bound = max(abs(int(v)) for v in left) * abs(a) + max(abs(int(v)) for v in right) * abs(b)
    shift = oracle.smallest_shift(bound + abs(offset))
    one = [np.array([m], np.int32) for m in (a, b)]
    got = oracle.run(arith.add, *grid, *one, np.array([offset]), shift=shift, dtype=dtype)
    assert got.dtype == dtype
    pairs = zip(grid[0].ravel(), grid[1].ravel(), strict=True)
    wanted = [oracle.rescaled(int(x) * a + int(y) * b + offset, shift, dtype) for x, y in pairs]
    assert got.ravel().tolist() == wanted


@pytest.mark.parametrize("dtype", NARROW)
def test_table_is_exact_for_every_byte(dtype: str) -> None:
    entries = oracle.values(dtype, (256,), 3)
    x = np.arange(256, dtype=np.uint8).reshape(2, 128)
    got = oracle.run(arith.table, x, entries)
    assert got.dtype == dtype
    assert got.ravel().tolist() == entries.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_sum_is_exact(dtype: str, axis: int) -> None:
    x = oracle.values(dtype, (4, 5, 6), axis % 3) // (8 if dtype == "int32" else 1)
    got = oracle.run(arith.sum_axis, x, axis=axis)
    assert got.dtype == np.int32
    assert (got == x.astype(object).sum(axis=axis, keepdims=True)).all()


@pytest.mark.parametrize("axis", [0, 1, -1])
@given(seed=SEEDS, distinct=st.integers(1, 4))
def test_argmax_is_the_first_maximum(axis: int, seed: int, distinct: int) -> None:
    few = np.random.default_rng(seed).choice(oracle.edges("int32"), distinct)
    x = np.random.default_rng(seed + 1).choice(few, (5, 7)).astype(np.int32)
    got = oracle.run(lambda xp, x: xp.argmax(x, axis), x)
    assert got.dtype == np.int64
    rows = x.T if axis == 0 else x
    assert got.tolist() == [row.tolist().index(max(row.tolist())) for row in rows]
