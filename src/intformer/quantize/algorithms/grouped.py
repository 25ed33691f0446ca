"""Weights of 4 bits: levels times a small integer per group, times a scale per output channel.

A weight is ``scale[o] · multiplier[o, g] · level[k, o]`` with levels in -8..7 and multipliers of
either sign, so that a group may use the longer side of the range for its larger weights. Group
scales that are integers are those of Integer Scale (Li et al., arXiv 2405.14597, section 4).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from intformer.quantize.algorithms.gptq import BLOCK, check_finite, inverse_factor
from intformer.quantize.observers import Covariance
from intformer.quantize.params import IntegerWeight

LOW, HIGH = -8, 7
LARGEST = 15
"""Largest multiplier: -8·15 and 7·15 fit int8, and the product of a weight never is -128."""

SPREADS = torch.linspace(0.8, 1.3, 6)
"""Candidates for the largest group scale, relative to what fits the largest weight."""

SHRINKS = torch.linspace(0.6, 1.05, 10)
"""Candidates for a group's scale, relative to what fits its largest weight."""


def round_groups(
    weight: Tensor,
    bias: Tensor,
    statistics: Covariance | None,
    *,
    group: int,
    compensate: bool,
    correct_bias: bool,
    smallest_scale: float = 0.0,
) -> IntegerWeight:
    """Integer weights of 4 bits for y = x wᵀ + b; arguments as for ``gptq.round_weights``.

    Args:
        group: input channels that share a multiplier, an even number; 0: all of them.
    """
    check_finite(weight, bias)
    depth = weight.shape[1]
    group = min(group, depth + depth % 2) or depth + depth % 2
    importance = torch.ones(depth) if statistics is None else statistics.moments.diagonal()
    scale, multiplier = choose_scales(weight, importance, group, smallest_scale)
    each = multiplier.repeat_interleave(group, 1)[:, :depth].double()
    steps = scale[:, None] * each
    if compensate and statistics is not None:
        levels = _compensated(weight, steps, statistics.centred)
    else:
        levels = _nearest(weight, steps)
    if correct_bias and statistics is not None:
        bias = bias + (weight - levels * steps) @ statistics.mean
    values = np.ascontiguousarray((levels * each).T.to(torch.int8).numpy())
    factors = multiplier.to(torch.int8).numpy()
    return IntegerWeight(values, scale.numpy(), bias.numpy(), factors, group)


def choose_scales(
    weight: Tensor, importance: Tensor, group: int, smallest_scale: float
) -> tuple[Tensor, Tensor]:
    """Scale [O] and multipliers [O, G] with the least rounding error.

    For each candidate of the scale, each group takes the multiplier that is best for it; the error
    of a weight counts with the energy of its input.
    """
    groups = -(-weight.shape[1] // group)
    padding = groups * group - weight.shape[1]
    parts = torch.nn.functional.pad(weight.float(), (0, padding)).reshape(len(weight), groups, -1)
    energy = torch.nn.functional.pad(importance.float(), (0, padding)).reshape(groups, -1)
    fitting = parts.abs().amax((1, 2)).clamp(min=1e-12) / -LOW
    best = torch.full_like(fitting, float("inf"))
    scale, multiplier = fitting.double(), torch.ones(parts.shape[:2])
    for spread in SPREADS if groups > 1 else torch.linspace(0.5, 1.1, 21):
        top = LARGEST if groups > 1 else 1
        candidate = (fitting * spread / top).clamp(min=max(smallest_scale, 1e-12))
        factors, errors = _choose_multipliers(parts / candidate[:, None, None], energy, top)
        errors = errors * candidate**2
        better = errors < best
        best = torch.where(better, errors, best)
        scale = torch.where(better, candidate.double(), scale)
        multiplier = torch.where(better[:, None], factors, multiplier)
    return scale, multiplier


def _choose_multipliers(parts: Tensor, energy: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Best multiplier of each group of ``parts`` [O, G, K], and the error per channel."""
    fitting = parts.abs().amax(2) / -LOW
    best = torch.full_like(fitting, float("inf"))
    chosen = torch.ones_like(fitting)
    for shrink in SHRINKS if top > 1 else SHRINKS[:1]:
        size = torch.floor(fitting * shrink + 0.5).clamp(1, top)
        for factor in (size, -size):
            step = factor[:, :, None]
            error = (_nearest(parts, step) * step - parts).square().mul_(energy).sum(2)
            better = error < best
            best = torch.where(better, error, best)
            chosen = torch.where(better, factor, chosen)
    return chosen, best.sum(1)


def _nearest(weight: Tensor, steps: Tensor) -> Tensor:
    rounded: Tensor = torch.floor(weight / steps + 0.5).clamp(LOW, HIGH)
    return rounded


def _compensated(weight: Tensor, steps: Tensor, hessian: Tensor) -> Tensor:
    """Column-wise rounding in the order of falling input energy, as ``gptq`` does."""
    order = torch.argsort(hessian.diagonal(), descending=True)
    rest, steps = weight[:, order].clone(), steps[:, order]
    factor = inverse_factor(hessian[order][:, order])
    levels = torch.zeros_like(rest)
    for start in range(0, rest.shape[1], BLOCK):
        stop = min(start + BLOCK, rest.shape[1])
        errors = torch.zeros(len(rest), stop - start, dtype=rest.dtype)
        for column in range(start, stop):
            levels[:, column] = _nearest(rest[:, column], steps[:, column])
            error = rest[:, column] - levels[:, column] * steps[:, column]
            error = error / factor[column, column]
            rest[:, column:stop] -= torch.outer(error, factor[column, column:stop])
            errors[:, column - start] = error
        rest[:, stop:] -= errors @ factor[start:stop, stop:]
    restored: Tensor = levels[:, torch.argsort(order)]
    return restored
