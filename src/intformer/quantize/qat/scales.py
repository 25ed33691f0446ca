"""Scales as module state: what observers move, LSQ learns and checkpoints hold.

Every buffer has its final shape from the start, so that any ``state_dict`` of the same model and
recipe can be loaded at any time.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intformer.quantize.algorithms.clipping import affine_for
from intformer.quantize.algorithms.gptq import nearest
from intformer.quantize.algorithms.grouped import HIGH, LOW
from intformer.quantize.params import Affine, IntegerWeight
from intformer.quantize.qat.straight import rounded, rounded_learning

SMALLEST = 1e-12

Range = tuple[float, float]


class ActivationScale(nn.Module):
    """Scale and zero point of the values that share them.

    The scale is ``base · exp(log_gain)``. ``observe`` moves ``base`` with the extremes of the
    batches: calibration found which part of the range of a typical batch is worth representing, and
    that proportion is kept.

    Args:
        affine: what calibration decided.
        typical: mean over the calibration batches of their (smallest, largest) value; None if the
            range does not follow the data.
        learn: whether ``log_gain`` is a parameter.
    """

    base: Tensor
    zero_point: Tensor
    low: Tensor
    high: Tensor
    ratios: Tensor
    log_gain: Tensor

    def __init__(self, affine: Affine, typical: Range | None, *, learn: bool) -> None:
        super().__init__()
        self.dtype, self.follows = affine.dtype, typical is not None
        low, high = typical or (0.0, 0.0)
        self.register_buffer("base", _number(affine.scale))
        self.register_buffer("zero_point", torch.tensor(affine.zero_point, dtype=torch.int64))
        self.register_buffer("low", _number(low))
        self.register_buffer("high", _number(high))
        self.register_buffer("ratios", torch.tensor(_ratios(affine, low, high)).double())
        _add_gain(self, torch.zeros(()), learn)

    @property
    def wide(self) -> bool:
        """Whether these are symmetric signed integers."""
        return self.dtype.startswith("int")

    def affine(self) -> Affine:
        """The present scale and zero point."""
        scale = float(self.base) * math.exp(float(self.log_gain.detach()))
        return Affine(max(scale, SMALLEST), int(self.zero_point), self.dtype)

    @torch.no_grad()
    def observe(self, low: Tensor, high: Tensor, momentum: float) -> None:
        """Follow a batch with these extremes."""
        self.low.lerp_(low.to(self.low), 1 - momentum)
        self.high.lerp_(high.to(self.high), 1 - momentum)
        lowest, highest = (float(v) for v in (self.low, self.high))
        if self.wide:
            scale = float(self.ratios[1]) * max(-lowest, highest)
            self.base.fill_(max(scale, SMALLEST))
            return
        ratios = self.ratios.tolist()
        found = affine_for(lowest * ratios[0], highest * ratios[1], int(self.dtype[4:]))
        self.base.fill_(found.scale)
        self.zero_point.fill_(found.zero_point)


def _ratios(affine: Affine, low: float, high: float) -> Range:
    """The represented range relative to the typical one; for wide values, scale to extent."""
    if affine.dtype.startswith("int"):
        return 0.0, affine.scale / max(-low, high, SMALLEST)
    bottom, top = (affine.scale * (bound - affine.zero_point) for bound in affine.limits)
    return _quotient(bottom, low), _quotient(top, high)


def _quotient(chosen: float, typical: float) -> float:
    return chosen / typical if chosen * typical > 0 else 0.0


class WeightScale(nn.Module):
    """A scale per output channel, and the rounding of a layer's weights to it.

    Args:
        weight: as calibrated: its scale per step of the integers, its multipliers, if any, and the
            size of the groups that it keeps to (``weight_groups`` of a recipe).
        bits: integers are in ±(2^(bits-1) - 1), or multiples of -8..7 where there are multipliers.
        factor: [C] model input per pixel step where the layer reads raw pixels, else None.
        learn: whether ``log_gain`` is a parameter.
    """

    base: Tensor
    lanes: Tensor
    factor: Tensor | None
    multiplier: Tensor | None
    log_gain: Tensor

    def __init__(
        self,
        weight: IntegerWeight,
        bits: int,
        factor: NDArray[np.float64] | None,
        *,
        learn: bool,
    ) -> None:
        super().__init__()
        self.top: int = 2 ** (bits - 1) - 1
        self.learns, self.group = learn, weight.group
        self.register_buffer("base", torch.from_numpy(weight.scale.astype(np.float64)))
        self.register_buffer("lanes", torch.tensor(weight.lanes))
        multiplier = None if weight.multiplier is None else torch.from_numpy(weight.multiplier)
        self.register_buffer("multiplier", multiplier)
        shaped = None if factor is None else torch.from_numpy(factor)[:, None, None]
        self.register_buffer("factor", shaped, persistent=False)
        _add_gain(self, torch.zeros(len(weight.scale)), learn)

    @property
    def scale(self) -> Tensor:
        """[O] float64."""
        return (self.base * self.log_gain.detach().double().exp()).clamp(min=SMALLEST)

    def codes(self, weight: Tensor) -> Tensor:
        """The integers of ``weight`` [O, ...], as float64 in its layout."""
        real = weight.detach().double()
        if self.factor is not None:
            real = real * self.factor
        rows = _patches(real / self._column(weight))
        flat = rows.flatten(1)
        if self.multiplier is None:
            codes = nearest(flat, self.top, int(self.lanes))
        else:
            factors = self._factors(flat.shape[1])
            codes = torch.floor(flat / factors + 0.5).clamp(LOW, HIGH) * factors
        return _kernels(codes.reshape(rows.shape))

    def _factors(self, depth: int) -> Tensor:
        """The multiplier of each weight [O, depth], in the order of ``patches``."""
        assert self.multiplier is not None
        return self.multiplier.double().repeat_interleave(self.group, 1)[:, :depth]

    def rounded(self, weight: Tensor, codes: Tensor) -> Tensor:
        """What ``codes`` stand for, with straight-through gradients to ``weight`` and the scale."""
        step = self._column(weight)
        if self.factor is not None:
            step = step / self.factor
        exact = (codes * step).to(weight.dtype)
        reach = (self._largest(weight) * step).to(weight.dtype)
        if self.learns:
            return rounded_learning(weight, exact, reach, self.log_gain, self.top)
        return rounded(weight, exact, reach)

    def _largest(self, weight: Tensor) -> Tensor | float:
        """Beyond how many steps of the scale a weight is clipped."""
        if self.multiplier is None:
            return self.top + 0.5
        factors = self._factors(weight[0].numel()).abs().reshape(_patches(weight).shape)
        return _kernels(factors) * (0.5 - LOW)

    def _column(self, weight: Tensor) -> Tensor:
        return self.scale.reshape(-1, *[1] * (weight.dim() - 1))


def _patches(weight: Tensor) -> Tensor:
    """A convolution's weights [O, C, h, w] in the order of ``patches``, others as they are."""
    return weight.movedim(1, -1) if weight.dim() == 4 else weight


def _kernels(rows: Tensor) -> Tensor:
    """The inverse of ``_patches``."""
    return rows.movedim(-1, 1) if rows.dim() == 4 else rows


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _add_gain(module: nn.Module, zeros: Tensor, learn: bool) -> None:
    """``log_gain`` has one name in a checkpoint whether it is learned or not."""
    if learn:
        module.register_parameter("log_gain", nn.Parameter(zeros))
    else:
        module.register_buffer("log_gain", zeros)
