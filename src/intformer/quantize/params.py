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
    """A linear layer's weights: real w[k, o] = scale[o] · values[k, o].

    Attributes:
        values: int8 [K, O].
        scale: float64 [O], positive.
        bias: float64 [O].
        multiplier: int8 [O, G], not 0, of weights of 4 bits: every ``group`` rows of ``values`` are
            its multiples by levels in -8..7. None for other weights.
        group: rows that share a multiplier, an even number; 0 without one.
        lanes: number of products that were made to fit int16 (``ir.lanes``), 0 if none.
    """

    values: NDArray[np.int8]
    scale: FloatArray
    bias: FloatArray
    multiplier: NDArray[np.int8] | None = None
    group: int = 0
    lanes: int = 0

    @property
    def factors(self) -> NDArray[np.int8]:
        """The multiplier of each value [K, O], 1 where there is none."""
        if self.multiplier is None:
            return np.ones_like(self.values)
        return self.multiplier.repeat(self.group, axis=1)[:, : len(self.values)].T

    @property
    def steps(self) -> FloatArray:
        """The real size of one integer step of each weight, negative where its multiplier is."""
        return self.scale * self.factors

    @property
    def levels(self) -> NDArray[np.int8]:
        """``values`` in these steps."""
        return np.asarray(self.values // self.factors)

    @property
    def packed(self) -> NDArray[np.uint8]:
        """Two levels in each byte, uint8 [O, G, group/2], as ``arith.unpack4`` reads them."""
        levels = self.levels.T
        groups = -(-len(self.values) // self.group)
        full = np.full((len(levels), groups * self.group), 8, np.uint8)
        full[:, : levels.shape[1]] = levels + 8
        low, high = np.split(full.reshape(len(levels), groups, self.group), 2, axis=2)
        return low + 16 * high


OWN = {"softmax": "exp2", "gelu": "exact", "norm": "exact"}
"""Our own operators by kind."""


@dataclass(frozen=True)
class Choice:
    """The operator that computes a softmax, GELU or normalisation, where it is not our own.

    Attributes:
        kind: ``softmax``, ``gelu`` or ``norm``.
        operator: its name in a recipe.
        parameters: what calibration measured for it (see ``quantize.approx``).
        snr_db: measured signal-to-noise ratio of the operator alone; None where nothing was.
        asked: the operator that the recipe asked for, where ``operator`` stands in for it.
        reason: why it does.
    """

    kind: str
    operator: str
    parameters: tuple[float, ...] = ()
    snr_db: float | None = None
    asked: str = ""
    reason: str = ""


@dataclass
class Decisions:
    """Everything ``lower`` needs besides the float graph.

    Attributes:
        activations: float value -> its 8-bit form (input of linears, attention and tables).
        streams: float value -> its wide form (residual stream, normalisation inputs, outputs).
        weights: output value of a linear or conv2d -> its integer weights.
        splits: result of an activation function -> largest input; the function is evaluated in two
            parts there (see ``lowering.unary``).
        operators: result of a softmax attention, GELU or normalisation -> the operator for it;
            our own where there is none.
        reaches: result of a polynomial attention -> largest base ``relu(score + b)`` to represent.
    """

    activations: dict[str, Affine] = field(default_factory=dict)
    streams: dict[str, Affine] = field(default_factory=dict)
    weights: dict[str, IntegerWeight] = field(default_factory=dict)
    splits: dict[str, float] = field(default_factory=dict)
    operators: dict[str, Choice] = field(default_factory=dict)
    reaches: dict[str, float] = field(default_factory=dict)

    def operator(self, value: str) -> Choice | None:
        """The operator to use for the node that makes ``value``; None is our own."""
        choice = self.operators.get(value)
        return None if choice is None or choice.operator in OWN.values() else choice
