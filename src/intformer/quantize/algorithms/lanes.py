"""Rounding weights so that sums of 2, 4 or 8 of their products with uint8 fit int16.

On processors without VNNI such weights are multiplied at the full rate of the 8-bit instructions
(``ir.lanes``). In every lane the integers of one sign may sum to ``SAFE_SUM`` at most: a point of
that set near the real weights is searched in the metric in which errors cost something.
"""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor

from intformer.ir.lanes import LANE_ORDER, SAFE_SUM

MOST_STEPS = 64
"""Improving steps of one search; it ends by itself much earlier."""


def lane_columns(depth: int, size: int) -> Tensor:
    """Columns of a weight [O, depth] by lanes of ``size``; ``depth`` is a multiple of 16."""
    columns = torch.arange(depth).reshape(-1, len(LANE_ORDER))
    return columns[:, list(LANE_ORDER)].reshape(-1, size)


def padded(weight: Tensor) -> Tensor:
    """``weight`` [O, K] with zero columns up to a multiple of 16."""
    missing = -weight.shape[1] % len(LANE_ORDER)
    return torch.nn.functional.pad(weight, (0, missing))


def largest_sum(weight: Tensor, size: int) -> Tensor:
    """Per row of ``weight`` [O, K]: the largest sum of magnitudes of one sign in a lane."""
    full = padded(weight)
    lanes = full[:, lane_columns(full.shape[1], size)]
    return _sums(lanes).amax((1, 2))


def nearest_in_lanes(target: Tensor, size: int, top: int) -> Tensor:
    """Integers near ``target`` [O, K], in [-top, top], with every lane of ``size`` within budget.

    Lanes over the budget are brought onto it, all weights of the sign by the same amount (the
    nearest real point), and rounded towards zero.
    """
    full = padded(target)
    lanes = lane_columns(full.shape[1], size)
    values = full[:, lanes]
    rounded = torch.floor(values + 0.5).clamp(-top, top)
    over = _over(rounded)
    rounded[over] = _towards_zero(values[over], top)
    result = torch.empty_like(full)
    result[:, lanes] = rounded
    return result[:, : target.shape[1]]


def round_lane(target: Tensor, factor: Tensor, top: int) -> Tensor:
    """Integers for one lane, the error measured as what later columns cannot make up for.

    Args:
        target: [O, n] real values in units of the scale.
        factor: [n, n] upper Cholesky factor of the inverse Hessian of the columns still to come,
            its first n rows and columns; an error e costs |e·factor⁻¹|².
        top: largest magnitude.

    Returns:
        [O, n]. Rows that fit are rounded one column after the other (GPTQ); in the others the best
        point that fits is searched.
    """
    rounded = _one_by_one(target, factor, top)
    if target.shape[1] == 1:
        return rounded
    over = _over(rounded)
    if bool(over.any()):
        inverse = torch.linalg.inv(factor)
        start = _towards_zero(target[over], top)
        rounded[over] = _improved(start, target[over], inverse @ inverse.T, top)
    return rounded


def _one_by_one(target: Tensor, factor: Tensor, top: int) -> Tensor:
    rest, rounded = target.clone(), torch.empty_like(target)
    for column in range(target.shape[1]):
        rounded[:, column] = torch.floor(rest[:, column] + 0.5).clamp(-top, top)
        error = (rest[:, column] - rounded[:, column]) / factor[column, column]
        rest[:, column:] -= torch.outer(error, factor[column, column:])
    return rounded


def _improved(start: Tensor, target: Tensor, metric: Tensor, top: int) -> Tensor:
    """Descend from ``start`` by the best step that fits, until none lowers (w - t)·metric·(w - t)ᵀ.

    A step changes one integer or two by 1.
    """
    steps = _steps(target.shape[1])
    own_cost = ((steps @ metric) * steps).sum(1)
    result, active = start.clone(), torch.arange(len(start))
    for _ in range(MOST_STEPS):
        current = result[active]
        change = 2 * (current - target[active]) @ metric @ steps.T + own_cost
        moved = current[:, None] + steps
        change[_over(moved) | (moved.abs().amax(-1) > top)] = torch.inf
        best, index = change.min(1)
        better = best < -1e-9 * own_cost.mean()
        active = active[better]
        if not len(active):
            break
        result[active] += steps[index[better]]
    return result


@functools.cache
def _steps(size: int) -> Tensor:
    """[M, size] of -1, 0 and 1: one or two of them not 0."""
    single = [{i: a} for i in range(size) for a in (1, -1)]
    signs = list(itertools.product((1, -1), repeat=2))
    double = [{i: a, j: b} for i, j in itertools.combinations(range(size), 2) for a, b in signs]
    rows = [[step.get(i, 0) for i in range(size)] for step in single + double]
    return torch.tensor(rows, dtype=torch.float64)


def _towards_zero(target: Tensor, top: int) -> Tensor:
    """[R, n] -> integers within the budget: the nearest real point that fits, cut off."""
    clipped = target.clamp(-top, top)
    return _shrunk(clipped.clamp(min=0)).floor() - _shrunk((-clipped).clamp(min=0)).floor()


def _shrunk(target: Tensor) -> Tensor:
    """The nearest non-negative point with sum at most ``SAFE_SUM`` (a soft threshold per row)."""
    falling = target.sort(-1, descending=True).values
    counts = torch.arange(1, target.shape[-1] + 1, dtype=target.dtype)
    thresholds = (falling.cumsum(-1) - SAFE_SUM) / counts
    kept = (falling > thresholds).sum(-1, keepdim=True).clamp(min=1)
    return (target - thresholds.gather(-1, kept - 1).clamp(min=0)).clamp(min=0)


def _sums(lanes: Tensor) -> Tensor:
    """[..., n] -> [..., 2]: sums of the positive and of the negative magnitudes."""
    return torch.stack([lanes.clamp(min=0).sum(-1), (-lanes).clamp(min=0).sum(-1)], -1)


def _over(lanes: Tensor) -> Tensor:
    """[..., n] -> [...]: which lanes exceed the budget."""
    return _sums(lanes).amax(-1) > SAFE_SUM
