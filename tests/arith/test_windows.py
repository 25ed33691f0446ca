"""Attention inside windows with biases on the scores: our softmax and those of other papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import approximate_oracles as published
import arith_oracles as oracle
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intformer import arith
from published_programs import WINDOW_SOFTMAXES

SEEDS = st.integers(0, 2**32 - 1)
UNIT = 24
WEIGHTS: dict[str, Callable[..., list[int]]] = {
    "exp2": oracle.softmax_weights,
    "shift": published.shift_weights,
    "quadratic": published.quadratic_weights,
    "log2": published.log2_weights,
}
HIDDEN = -arith.BIAS_LIMIT


def function(kind: str) -> Callable[..., Any]:
    name = "biased_attention" if kind == "exp2" else f"biased_{kind}_attention"
    return getattr(arith, name)


def grid(kind: str, score: float) -> dict[str, int]:
    """limit, multiplier and exp_shift for scores of which one unit is ``score`` of a logit."""
    ends = {"exp2": arith.EXP_STEPS, "shift": 21 * UNIT}
    end = ends.get(kind, arith.QUADRATIC_END)
    steps = score * (UNIT if kind == "shift" else 256 / math.log(2))
    limit, shift = math.ceil((end + 1) / steps), 30
    while limit * round(steps * 2**shift) + 2 ** (shift - 1) >= 2**31:
        shift -= 1
    return {"limit": limit, "multiplier": round(steps * 2**shift), "exp_shift": shift}


def attributes(kind: str, bits: int, heads: int, score: float, dtype: str) -> dict[str, Any]:
    shift = 31 if kind == "exp2" else 23 + bits
    attrs: dict[str, Any] = {"heads": heads, "dtype": dtype, **grid(kind, score)}
    attrs |= {"q_zero": 131, "k_zero": 3, "v_zero": 120, "gain": 2**31 if kind == "exp2" else 2**23}
    attrs |= {"offset": (128 << shift) + (1 << (shift - 1)), "shift": shift}
    attrs |= {"unit": UNIT} if kind == "shift" else {}
    return attrs | ({"bits": bits} if kind in ("shift", "quadratic") else {})


def wanted(kind: str, q: Any, k: Any, v: Any, bias: Any, attrs: dict[str, Any]) -> np.ndarray:
    """Loops over images, windows, heads, queries, keys and channels, in Python integers."""
    heads, (n, windows, t, width) = attrs["heads"], q.shape
    size, wide = width // heads, v.shape[3] // heads
    bias = np.broadcast_to(bias, (windows, heads, t, k.shape[2]))
    result = np.zeros((n, windows, t, heads * wide), object)
    for i, w, h, row in np.ndindex(n, windows, heads, t):
        part, out = slice(h * size, (h + 1) * size), slice(h * wide, (h + 1) * wide)
        query = [int(x) - attrs["q_zero"] for x in q[i, w, row, part]]
        scores = [
            sum(a * (int(b) - attrs["k_zero"]) for a, b in zip(query, key, strict=True))
            + min(max(int(added), HIDDEN), -HIDDEN)
            for key, added in zip(k[i, w, :, part], bias[w, h, row], strict=True)
        ]
        result[i, w, row, out] = mixed(kind, scores, v[i, w, :, out], attrs)
    return result


def mixed(kind: str, scores: list[int], values: np.ndarray, attrs: dict[str, Any]) -> list[int]:
    keys = {name: attrs[name] for name in ("unit", "bits") if name in attrs}
    limits = {"limit": attrs["limit"], "multiplier": attrs["multiplier"]}
    weights = WEIGHTS[kind](scores, **limits, shift=attrs["exp_shift"], **keys)
    factor = attrs["gain"] // sum(weights) if kind == "exp2" else attrs["gain"]
    sums = [
        sum(w * (int(x) - attrs["v_zero"]) for w, x in zip(weights, column, strict=True))
        for column in values.T
    ]
    return [
        oracle.rescaled(s * factor + attrs["offset"], attrs["shift"], attrs["dtype"]) for s in sums
    ]


def biases(shape: tuple[int, ...], rng: np.random.Generator, reach: float) -> np.ndarray:
    """Biases of both signs; a fifth of the pairs apart, some by more than the limit."""
    bias = rng.normal(0, reach, shape).astype(np.int32)
    apart = rng.random(shape) < 0.2
    bias[apart] = rng.choice([HIDDEN, HIDDEN - 1, -(2**31)], int(apart.sum()))
    bias.reshape(-1)[:1] = 2**31 - 1
    return bias


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
@pytest.mark.parametrize(("kind", "bits"), WINDOW_SOFTMAXES)
@settings(max_examples=12)
@given(
    seed=SEEDS,
    windows=st.integers(1, 3),
    heads=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    t=st.integers(1, 4),
    s=st.integers(1, 9),
    form=st.integers(0, 7),
)
@example(seed=0, windows=1, heads=1, sizes=(1, 1), t=1, s=1, form=0)
def test_attention_in_windows(
    kind: str,
    bits: int,
    dtype: str,
    seed: int,
    windows: int,
    heads: int,
    sizes: tuple[int, int],
    t: int,
    s: int,
    form: int,
) -> None:
    rng = np.random.default_rng(seed)
    widths = (heads * sizes[0], heads * sizes[0], heads * sizes[1])
    q, k, v = (
        oracle.values("uint8", (2, windows, rows, width), seed + i)
        for i, (rows, width) in enumerate(zip((t, s, s), widths, strict=True))
    )
    score = float(2.0 ** -rng.integers(4, 14))
    full = (windows, heads, t)
    shape = (*(1 if form >> i & 1 else size for i, size in enumerate(full)), s)
    bias = biases(shape, rng, 2 / score)
    attrs = attributes(kind, bits, heads, score, dtype)
    got = oracle.run(function(kind), q, k, v, bias, **attrs)
    assert got.dtype == dtype
    assert (got == wanted(kind, q, k, v, bias, attrs)).all()


@pytest.mark.parametrize(("kind", "bits"), WINDOW_SOFTMAXES)
@pytest.mark.parametrize("score", [2.0**-16, 2.0**-10])
def test_pairs_that_windows_keep_apart_change_nothing(kind: str, bits: int, score: float) -> None:
    """The regions of a shifted window compute as if each were alone, whatever the others hold."""
    attrs = attributes(kind, bits, 2, score, "int16")
    q, k, v = (oracle.values("uint8", (2, 2, 8, 12), seed) for seed in range(3))
    bias = np.random.default_rng(3).normal(0, 2 / score, (2, 2, 8, 8)).astype(np.int32)
    regions = bias[1:, :, :5, :5].copy(), bias[1:, :, 5:, 5:].copy()
    bias[1, :, :5, 5:] = bias[1, :, 5:, :5] = HIDDEN
    together = oracle.run(function(kind), q, k, v, bias, **attrs)[:, 1:]
    for part, own in zip((slice(0, 5), slice(5, 8)), regions, strict=True):
        alone = oracle.run(function(kind), *(x[:, 1:, part] for x in (q, k, v)), own, **attrs)
        assert (together[:, :, part] == alone).all()


@pytest.mark.parametrize(
    ("kind", "bits", "bound"),
    [("exp2", 8, 0.005), ("shift", 15, 0.016), ("quadratic", 15, 0.003), ("log2", 15, 0.1)],
)
@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_distance_to_the_real_softmax(kind: str, bits: int, bound: float, spread: float) -> None:
    """Probabilities read off as rows of an identity, against float64: mean total variation.

    Both the scores and the biases have the deviation ``spread``; the second half of the windows
    keeps its first and its last tokens apart.
    """
    rng, tokens, size = np.random.default_rng(0), 16, 32
    score = spread / (74.0**2 * math.sqrt(size))  # bytes of all values deviate by 74
    q, k = (rng.integers(0, 256, (3, 4, tokens, size), dtype=np.uint8) for _ in range(2))
    bias = rng.normal(0, spread / score, (4, 1, tokens, tokens)).astype(np.int32)
    bias[2:, :, :9, 9:] = bias[2:, :, 9:, :9] = HIDDEN
    v = np.broadcast_to(np.eye(tokens, dtype=np.uint8) * 255, (3, 4, tokens, tokens)).copy()
    attrs = attributes(kind, bits, 1, score, "int16") | {"q_zero": 128, "k_zero": 128, "v_zero": 0}
    attrs |= {"gain": 2**38 if kind == "exp2" else 2**21, "shift": 32 if kind == "exp2" else 30}
    attrs["offset"] = 2 ** (attrs["shift"] - 1)
    one = 255 * 64  # what stands for a probability of 1
    found = oracle.run(function(kind), q, k, v, bias, **attrs).astype(np.float64)
    logits = (q.astype(float) - 128) @ (k.astype(float) - 128).transpose(0, 1, 3, 2) * score
    logits += np.where(bias[:, 0] == HIDDEN, -np.inf, bias[:, 0] * score)
    real = np.exp(logits - logits.max(-1, keepdims=True))
    real /= real.sum(-1, keepdims=True)
    assert (found[:, 2:, :9, 9:] == 0).all() and (found[:, 2:, 9:, :9] == 0).all()
    assert np.abs(found / one - real).sum(-1).mean() / 2 < bound
