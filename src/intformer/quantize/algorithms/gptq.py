"""Integer weights: a scale per output channel and error-compensating rounding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from intformer.errors import IntformerError
from intformer.ir.lanes import SAFE_SUM
from intformer.quantize.algorithms.lanes import (
    lane_columns,
    largest_sum,
    nearest_in_lanes,
    padded,
    round_lane,
)
from intformer.quantize.dyadic import dyadic_scale
from intformer.quantize.observers import Covariance
from intformer.quantize.params import IntegerWeight

BLOCK = 128
DAMPING = 0.01


def round_weights(
    weight: Tensor,
    bias: Tensor,
    statistics: Covariance | None,
    *,
    bits: int,
    compensate: bool,
    correct_bias: bool,
    smallest_scale: float = 0.0,
    lanes: int = 0,
    scale_bits: int = 0,
) -> IntegerWeight:
    """Integer weights for y = x wᵀ + b.

    Args:
        weight: [O, K]; bias: [O]; both float64.
        statistics: of the layer's input x, on calibration data.
        bits: weights are in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
        compensate: round column by column, each column's error being made up for by the columns
            still to come (GPTQ, arXiv 2210.17323, with the covariance of x as Hessian).
        correct_bias: add E[x]·(w - ŵ)ᵀ to the bias, so that the mean output is kept.
        smallest_scale: lower bound of a channel's scale.
        lanes: 2, 4 or 8: sums of that many products fit int16 (``ir.lanes``); 0: any weights.
        scale_bits: scales are dyadic with this many bits (``dyadic.dyadic_scale``); 0: any.
    """
    check_finite(weight, bias)
    importance = None if statistics is None else statistics.moments.diagonal()
    top = 2 ** (bits - 1) - 1
    scale = _channel_scales(weight, importance, top, lanes)
    scale = scale.clamp(min=max(smallest_scale, 1e-12))
    if scale_bits:
        scale = torch.from_numpy(dyadic_scale(scale.numpy(), scale_bits))
    if compensate and statistics is not None:
        integers = _compensated(weight, scale, statistics.centred, top, lanes)
    else:
        integers = nearest(weight / scale[:, None], top, lanes)
    if correct_bias and statistics is not None:
        bias = bias + (weight - integers * scale[:, None]) @ statistics.mean
    values = np.ascontiguousarray(integers.T.to(torch.int8).numpy())
    return IntegerWeight(values, scale.numpy(), bias.numpy(), lanes=lanes)


def weight_snr(weight: Tensor, found: IntegerWeight, statistics: Covariance | None) -> float:
    """What rounding the weights costs: energy of a layer's output over that of the error, in dB.

    Both are without their means; without ``statistics``, as if inputs were independent and alike.
    """
    error = torch.from_numpy(found.values * found.scale).T - weight
    signal, noise = (
        x.square().sum() if statistics is None else ((x @ statistics.centred) * x).sum()
        for x in (weight, error)
    )
    return float(10 * torch.log10(signal.clamp(min=1e-300) / noise.clamp(min=1e-300)))


def check_finite(weight: Tensor, bias: Tensor) -> None:
    """Raise ``IntformerError`` where a layer holds NaN or infinity."""
    if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise IntformerError("weights contain NaN or infinity: is this the right checkpoint?")


def nearest(target: Tensor, top: int, lanes: int) -> Tensor:
    """The nearest integers of [O, K], in [-top, top] and with every lane within its budget."""
    if lanes:
        return nearest_in_lanes(target, lanes, top)
    rounded: Tensor = torch.floor(target + 0.5).clamp(-top, top)
    return rounded


def _channel_scales(weight: Tensor, importance: Tensor | None, top: int, lanes: int) -> Tensor:
    """Per-channel scale with the least rounding error, weighted by the energy of each input.

    The largest candidate lets every weight, and the sum of every lane, fit.
    """
    fitting = weight.abs().amax(1).clamp(min=1e-12) / top
    if lanes:
        fitting = torch.maximum(fitting, largest_sum(weight, lanes) / SAFE_SUM)
    if importance is None:
        return fitting
    best, best_error = fitting, torch.full_like(fitting, float("inf"))
    for step in torch.linspace(1.0, 0.5 if top < 127 else 0.8, 21, dtype=torch.float64):
        scale = fitting * step
        rounded = nearest(weight / scale[:, None], top, lanes)
        error = (rounded * scale[:, None] - weight) ** 2 @ importance
        better = error < best_error
        best, best_error = torch.where(better, scale, best), torch.where(better, error, best_error)
    return best


def _compensated(weight: Tensor, scale: Tensor, hessian: Tensor, top: int, lanes: int) -> Tensor:
    """Rounding one column, or one lane of columns, after the other."""
    depth, together = weight.shape[1], max(lanes, 1)
    if lanes:
        weight, hessian = padded(weight), padded(padded(hessian).T)
    order = _order(hessian.diagonal(), lanes)
    rest = weight[:, order].clone()
    factor = inverse_factor(hessian[order][:, order])
    integers = torch.zeros_like(rest)
    for start in range(0, rest.shape[1], BLOCK):
        stop = min(start + BLOCK, rest.shape[1])
        errors = torch.zeros(len(rest), stop - start, dtype=rest.dtype)
        for first in range(start, stop, together):
            own = slice(first, first + together)
            integers[:, own] = round_lane(rest[:, own] / scale[:, None], factor[own, own], top)
            for column in range(first, first + together):
                error = (rest[:, column] - integers[:, column] * scale) / factor[column, column]
                rest[:, column:stop] -= torch.outer(error, factor[column, column:stop])
                errors[:, column - start] = error
        rest[:, stop:] -= errors @ factor[start:stop, stop:]
    restored: Tensor = integers[:, torch.argsort(order)][:, :depth]
    return restored


def _order(energy: Tensor, lanes: int) -> Tensor:
    """Columns by falling energy of their input; those of a lane stay together."""
    if not lanes:
        return torch.argsort(energy, descending=True)
    columns = lane_columns(len(energy), lanes)
    columns = columns.gather(1, torch.argsort(energy[columns], 1, descending=True))
    return columns[torch.argsort(energy[columns].sum(1), descending=True)].reshape(-1)


def inverse_factor(hessian: Tensor) -> Tensor:
    """Upper Cholesky factor of the damped inverse.

    Inputs that hardly vary leave a matrix of rounding errors: then the damping grows until it is
    positive definite.
    """
    damp = DAMPING * hessian.diagonal().mean().clamp(min=1e-12)
    identity = torch.eye(len(hessian), dtype=hessian.dtype)
    root, failed = torch.linalg.cholesky_ex(hessian + damp * identity)
    while failed:
        damp = damp * 10
        root, failed = torch.linalg.cholesky_ex(hessian + damp * identity)
    inverse: Tensor = torch.cholesky_inverse(root)
    upper: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper
