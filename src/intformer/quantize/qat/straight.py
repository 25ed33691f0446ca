"""Straight-through gradients: the forward value is exact, the backward pass ignores the rounding.

Bengio et al., arXiv 1308.3432. A value outside the range of its integers passes no gradient (the
clip mask). The gradient of a scale is that of LSQ (Esser et al., arXiv 1902.08153, section 2.1),
taken with respect to its logarithm, so that one learning rate fits scales of any size (Jain et al.,
arXiv 1903.08066, section 3.3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def replaced(result: Tensor, exact: Tensor, low: float, high: float, *, clipped: bool) -> Tensor:
    """``exact`` with the gradient of ``result``, where that lies in [low, high].

    ``clipped`` says whether anything lies outside at all.
    """
    mask = ((result >= low) & (result <= high)) if clipped else None
    value: Tensor = _Replaced.apply(result, exact, mask)  # type: ignore[no-untyped-call]
    return value


def replaced_learning(
    result: Tensor, exact: Tensor, low: float, high: float, log_gain: Tensor, levels: int
) -> Tensor:
    """As ``replaced``, with a gradient for the logarithm of the scale too."""
    value: Tensor = _Learned.apply(result, exact, low, high, log_gain, levels)  # type: ignore[no-untyped-call]
    return value


def rounded(weight: Tensor, exact: Tensor, reach: Tensor) -> Tensor:
    """``exact`` with the gradient of ``weight`` where |weight| <= reach."""
    value: Tensor = _Replaced.apply(weight, exact, weight.abs() <= reach)  # type: ignore[no-untyped-call]
    return value


def rounded_learning(
    weight: Tensor, exact: Tensor, reach: Tensor, log_gain: Tensor, top: int
) -> Tensor:
    """As ``rounded``, with a gradient for the logarithm of each output channel's scale."""
    value: Tensor = _LearnedWeight.apply(weight, exact, reach, log_gain, top)  # type: ignore[no-untyped-call]
    return value


class _Replaced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, result: Tensor, exact: Tensor, mask: Tensor | None) -> Tensor:
        ctx.masked = mask is not None
        if mask is not None:
            ctx.save_for_backward(mask)
        return exact

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (grad * ctx.saved_tensors[0] if ctx.masked else grad), None, None


class _Learned(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        result: Tensor,
        exact: Tensor,
        low: float,
        high: float,
        log_gain: Tensor,
        levels: int,
    ) -> Tensor:
        inside = (result >= low) & (result <= high)
        slope = torch.where(inside, exact - result, exact)
        ctx.save_for_backward(inside, slope)
        ctx.share = float((result.numel() * levels) ** -0.5)
        return exact

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        inside, slope = ctx.saved_tensors  # type: ignore[attr-defined]
        of_scale = (grad * slope).sum() * ctx.share  # type: ignore[attr-defined]
        return grad * inside, None, None, None, of_scale, None


class _LearnedWeight(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, exact: Tensor, reach: Tensor, log_gain: Tensor, top: int
    ) -> Tensor:
        inside = weight.abs() <= reach
        ctx.save_for_backward(inside, torch.where(inside, exact - weight, exact))
        ctx.share = float((weight[0].numel() * top) ** -0.5)
        return exact

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        inside, slope = ctx.saved_tensors  # type: ignore[attr-defined]
        of_scale = (grad * slope).flatten(1).sum(1) * ctx.share  # type: ignore[attr-defined]
        return grad * inside, None, None, of_scale, None
