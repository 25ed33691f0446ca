"""The sequence operators: all realisations give the reference's bytes, near the real formulas."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from intformer import arith, artifact
from intformer.ir.verify import verify
from intformer.quantize.torch_primitives import run_torch
from intformer.reference import interpret
from intformer.reference.primitives import NumpyPrimitives
from intformer.runtime.session import Session
from programs import random_inputs
from sequence_programs import PROGRAMS, SIZES, causal, polynomial

xp = NumpyPrimitives()
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_realisation_agrees(name: str) -> None:
    graph = PROGRAMS[name](3)
    proof = verify(graph)
    low, high = proof.ranges[graph.outputs["y"]]
    for seed, sizes in enumerate([SIZES, {**SIZES, "N": 1, "T": 1}]):
        inputs = random_inputs(graph, sizes, seed=seed)
        wanted = interpret(graph, inputs)["y"]
        assert low <= wanted.min() and wanted.max() <= high
        assert seed or wanted.std() > 0
        assert (run_torch(graph, inputs)["y"] == wanted).all()
        assert (Session(graph, threads=1).run(inputs)["y"] == wanted).all()
        for flat in (False, True):
            model = artifact.to_onnx(graph, flat=flat).SerializeToString()
            (found,) = onnxruntime.InferenceSession(model).run(["y"], inputs)
            assert found.dtype == wanted.dtype
            assert (found == wanted).all()


@pytest.mark.parametrize("kind", ["softmax", "polynomial"])
def test_hidden_keys_change_nothing_and_a_cache_gives_the_same_bytes(kind: str) -> None:
    """T queries at once equal one query at a time over a cache with rubbish behind it."""
    plain = causal(5, False) if kind == "softmax" else polynomial(5, "causal")
    cached = causal(5, True) if kind == "softmax" else polynomial(5, "cached")
    inputs = random_inputs(plain, {"N": 3, "T": 6}, seed=1)
    wanted = interpret(plain, inputs)["y"]
    rubbish = {name: RNG.integers(0, 256, (3, 9, 24), np.uint8) for name in "kv"}
    for t in range(6):
        step = {"q": inputs["q"][:, t : t + 1], "position": np.full(3, t)}
        for name in "kv":
            step[name] = np.concatenate([inputs[name][:, : t + 1], rubbish[name][:, t + 1 :]], 1)
        assert (interpret(cached, step)["y"] == wanted[:, t : t + 1]).all()


def test_polynomial_weights_are_near_the_real_ones() -> None:
    """Every weight within a step of 8 bits of poly / largest poly, for rows of any height."""
    scores = RNG.normal(0, 3000, (2, 4, 1, 5, 7)).astype(np.int32)
    scores[:, :, :, 0] //= 50
    bias, floor = np.array([1000, -500, 0, 3000], np.int32), np.array([1, 500, 9000, 3], np.int32)
    weights = arith.polynomial_weights(
        xp, scores, None, bias, floor, limit=2**14, multiplier=2**16, shift=15, power=2
    )
    column = (1, -1, 1, 1, 1)
    base = np.maximum(scores + bias.reshape(column).astype(float), 0) * 2
    poly = np.minimum(base, 2**15 - 1) ** 2 + floor.reshape(column)
    wanted = 255 * poly / np.maximum(poly.max(-1, keepdims=True), 128)
    assert np.abs(weights - wanted).max() <= 1


def test_l1_norm_is_near_the_real_one() -> None:
    x = RNG.normal(300, 1000, (200, 384)).astype(np.int16)
    x[:20] //= 30
    normal = arith.l1_norm(
        xp,
        x,
        np.array([2**20], np.int32),
        np.array([2**19]),
        channels=384,
        eps=1,
        shift=20,
        dtype="int32",
    )
    centred = x - x.mean(-1, keepdims=True)
    real = centred / np.abs(centred).mean(-1, keepdims=True)
    assert np.abs(normal / 2**12 - real).max() < 0.003
    assert np.abs(normal[20:] / 2**12 - real[20:]).max() < 4e-4


def test_rotary_turns_pairs_of_channels() -> None:
    angle = np.arange(9)[:, None] * np.array([0.7, 0.1])
    cosine, sine = (np.round(2**14 * f(angle)).astype(np.int16) for f in (np.cos, np.sin))
    x = RNG.integers(-30000, 30000, (2, 3, 8)).astype(np.int16)
    position = np.array([4, 0])
    y = arith.rotary(xp, x, cosine, sine, position, heads=2, size=4, rows=9) / 2**14
    z = (x[..., [0, 1, 4, 5]] + 1j * x[..., [2, 3, 6, 7]]).reshape(2, 3, 2, 2)
    turned = z * np.exp(1j * angle[(position[:, None] + np.arange(3))][:, :, None])
    real = np.concatenate([turned.real, turned.imag], -1).reshape(2, 3, 8)
    assert np.abs(y - real).max() < 3


def test_append_writes_where_each_row_stands_and_drops_what_does_not_fit() -> None:
    cache = RNG.integers(0, 256, (3, 5, 2), np.uint8)
    new = RNG.integers(0, 256, (3, 2, 2), np.uint8)
    found = arith.append_rows(xp, cache, new, np.array([0, 2, 4]))
    wanted = cache.copy()
    wanted[0, :2], wanted[1, 2:4], wanted[2, 4:] = new[0], new[1], new[2, :1]
    assert (found == wanted).all()
