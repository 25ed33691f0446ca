"""Random operands for the proofs: values of random sub-ranges, constant or variable."""

from __future__ import annotations

from typing import Any

import numpy as np

from intformer.ir.graph import INTEGER_RANGES, Array
from programs import ACTIVATION

Rng = np.random.Generator
Operands = list[tuple[Array, bool]]
Attributes = dict[str, Any]


def around(rng: Rng, dtype: str, shape: tuple[int, ...], narrowing: int = 0) -> Array:
    """Values of a random sub-range of ``dtype``, both of its ends among them."""
    low, high = (v >> narrowing for v in INTEGER_RANGES[dtype])
    ends = sorted(int(v) for v in rng.integers(low, high, 2, endpoint=True))
    return rng.integers(ends[0], ends[1], shape, dtype=dtype, endpoint=True)


def constant(rng: Rng, dtype: str, shape: tuple[int, ...], narrowing: int = 0) -> Any:
    return around(rng, dtype, shape, narrowing), True


def variable(rng: Rng, dtype: str, shape: tuple[int, ...], narrowing: int = 0) -> Any:
    return around(rng, dtype, shape, narrowing), False


def channels_of(rng: Rng, channels: int) -> tuple[int]:
    return (int(rng.choice([1, channels])),)


def dtype_of(rng: Rng, choices: tuple[str, ...] = ACTIVATION) -> str:
    return str(rng.choice(choices))


def bits(rng: Rng) -> int:
    """By how many bits to narrow the range of a value."""
    return int(rng.integers(0, 24))
