"""Integer weights: a scale per output channel and error-compensating rounding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from intformer.errors import IntformerError
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
    """
    if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
        raise IntformerError("weights contain NaN or infinity: is this the right checkpoint?")
    importance = None if statistics is None else statistics.moments.diagonal()
    scale = _channel_scales(weight, importance, bits).clamp(min=max(smallest_scale, 1e-12))
    if compensate and statistics is not None:
        integers = _compensated(weight, scale, statistics.centred, bits)
    else:
        integers = _nearest(weight, scale[:, None], bits)
    if correct_bias and statistics is not None:
        bias = bias + (weight - integers * scale[:, None]) @ statistics.mean
    values = np.ascontiguousarray(integers.T.to(torch.int8).numpy())
    return IntegerWeight(values, scale.numpy(), bias.numpy())


def _nearest(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    top = 2 ** (bits - 1) - 1
    rounded: Tensor = torch.floor(weight / scale + 0.5).clamp(-top, top)
    return rounded


def _channel_scales(weight: Tensor, importance: Tensor | None, bits: int) -> Tensor:
    """Per-channel scale with the least rounding error, weighted by the energy of each input."""
    top = 2 ** (bits - 1) - 1
    largest = weight.abs().amax(1).clamp(min=1e-12)
    best: Tensor
    if importance is None:
        best = largest / top
        return best
    best, best_error = largest / top, torch.full_like(largest, float("inf"))
    for step in torch.linspace(1.0, 0.5 if bits < 8 else 0.8, 21, dtype=torch.float64):
        scale = largest * step / top
        error = (_nearest(weight, scale[:, None], bits) * scale[:, None] - weight) ** 2 @ importance
        better = error < best_error
        best, best_error = torch.where(better, scale, best), torch.where(better, error, best_error)
    return best


def _compensated(weight: Tensor, scale: Tensor, hessian: Tensor, bits: int) -> Tensor:
    """Column-wise rounding in the order of falling input energy."""
    order = torch.argsort(hessian.diagonal(), descending=True)
    rest = weight[:, order].clone()
    factor = _inverse_factor(hessian[order][:, order])
    integers = torch.zeros_like(rest)
    for start in range(0, rest.shape[1], BLOCK):
        stop = min(start + BLOCK, rest.shape[1])
        errors = torch.zeros(len(rest), stop - start, dtype=rest.dtype)
        for column in range(start, stop):
            rounded = _nearest(rest[:, column], scale, bits)
            integers[:, column] = rounded
            error = (rest[:, column] - rounded * scale) / factor[column, column]
            rest[:, column:stop] -= torch.outer(error, factor[column, column:stop])
            errors[:, column - start] = error
        rest[:, stop:] -= errors @ factor[start:stop, stop:]
    restored: Tensor = integers[:, torch.argsort(order)]
    return restored


def _inverse_factor(hessian: Tensor) -> Tensor:
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
