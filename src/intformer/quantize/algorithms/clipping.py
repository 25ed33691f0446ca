"""Ranges of 8-bit activations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from intformer.quantize.observers import Histogram
from intformer.quantize.params import Affine, FloatArray

Function = Callable[[FloatArray], FloatArray]

STEPS = np.concatenate([np.linspace(1.0, 0.6, 17), np.geomspace(0.55, 0.04, 16)])


def affine_for(low: float, high: float, bits: int) -> Affine:
    """uint8 integers 0..2^bits - 1 over [low, high], which is widened to contain 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    levels = 2**bits - 1
    scale = max(high - low, 1e-9) / levels
    zero = int(np.clip(np.floor(-low / scale + 0.5), 0, levels))
    return Affine(scale, zero, "uint8" if bits == 8 else f"uint{bits}")


def choose_affine(
    histogram: Histogram,
    bits: int,
    observer: str,
    percentile: float,
    function: Function | None = None,
    ceiling: float = math.inf,
) -> Affine:
    """Pick the range by the recipe's observer.

    ``function`` is what is applied to the quantized value (a GELU, say): the error is then that of
    the function's result, so no level is spent where it is flat. Values above ``ceiling`` are
    somebody else's business: the range ends there.
    """
    if observer == "minmax":
        return affine_for(histogram.low, min(histogram.high, ceiling), bits)
    if observer == "percentile":
        low, high = histogram.percentile(percentile)
        return affine_for(low, min(high, ceiling), bits)
    return _least_error(histogram, bits, function or (lambda x: x), ceiling)


def signal_to_noise(histogram: Histogram, affine: Affine, most: float = math.inf) -> float:
    """Energy of the values over that of their quantization error, in dB.

    ``most`` is an upper bound of the mean energy that counts as signal.
    """
    points, weights = (tensor.numpy() for tensor in histogram.points())
    total = float(weights.sum())
    noise = float(weights @ (affine.dequantize(affine.quantize(points)) - points) ** 2) / total
    signal = min(float(weights @ points**2) / total, most)
    return math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-300) / noise)


def _least_error(histogram: Histogram, bits: int, function: Function, ceiling: float) -> Affine:
    """The clip pair with the least mean squared error, found one side after the other."""
    points, weights = (tensor.numpy() for tensor in histogram.points())
    below = points <= ceiling
    points, weights = points[below], weights[below]
    wanted = function(points)

    def error(low: float, high: float) -> float:
        affine = affine_for(low, high, bits)
        rounded = affine.dequantize(affine.quantize(points))
        return float(weights @ (function(rounded) - wanted) ** 2)

    highest = min(histogram.high, ceiling)
    tops = [highest] if math.isfinite(ceiling) else [highest * step for step in STEPS]
    low, high = histogram.low, highest
    for _ in range(2):
        high = min(tops, key=lambda h: error(low, h))
        low = min((histogram.low * step for step in STEPS), key=lambda x: error(x, high))
    return affine_for(low, high, bits)
