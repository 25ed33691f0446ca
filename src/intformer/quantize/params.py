"""What quantization decides, as data: scales, zero points and integer weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from intformer.arith import SATURATION, STORAGE

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """real = scale · (integer - zero_point), with integers of ``dtype``.

    ``scale`` is positive. 8-bit activations are ``uint8``; the residual stream is ``int16`` with
    zero point 0.
    """

    scale: float
    zero_point: int
    dtype: str

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        return SATURATION[self.dtype]

    @property
    def storage(self) -> str:
        """Element type of a tensor of these integers."""
        return STORAGE.get(self.dtype, self.dtype)

    def quantize(self, x: NDArray[np.floating]) -> NDArray[np.int64]:
        """Nearest integers (ties upwards), clipped to the limits."""
        nearest = np.floor(np.asarray(x, np.float64) / self.scale + 0.5) + self.zero_point
        return np.asarray(np.clip(nearest, *self.limits).astype(np.int64))

    def dequantize(self, q: NDArray[np.integer]) -> FloatArray:
        """The real numbers that integers of this kind stand for."""
        return self.scale * (q.astype(np.float64) - self.zero_point)


@dataclass(frozen=True)
class IntegerWeight:
    """A linear layer's weights: real w[k, o] = scale[o] · values[k, o] (int8), bias float64 [O]."""

    values: NDArray[np.int8]
    scale: FloatArray
    bias: FloatArray


@dataclass
class Decisions:
    """Everything ``lower`` needs besides the float graph.

    Attributes:
        activations: float value -> its 8-bit form (input of linears, attention and tables).
        streams: float value -> its wide form (residual stream, normalisation inputs, outputs).
        weights: output value of a linear or conv2d -> its integer weights.
        splits: result of an activation function -> largest input; the function is evaluated in two
            parts there (see ``lowering.unary``).
    """

    activations: dict[str, Affine] = field(default_factory=dict)
    streams: dict[str, Affine] = field(default_factory=dict)
    weights: dict[str, IntegerWeight] = field(default_factory=dict)
    splits: dict[str, float] = field(default_factory=dict)
