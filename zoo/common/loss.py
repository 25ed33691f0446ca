"""Label-smoothed cross entropy that never holds the logits of a whole batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 512


class _ProjectedLoss(torch.autograd.Function):
    """Sum of the smoothed losses of ``hidden @ weight.T``, gradients computed on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Any:
        """Return (loss to train, negative log-likelihood), both summed over the rows."""
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight, dtype=torch.float32)
        matrix = weight.to(hidden.dtype)
        total = torch.zeros((), device=hidden.device)
        likelihood = torch.zeros((), device=hidden.device)
        for start in range(0, len(hidden), CHUNK):
            rows, target = hidden[start : start + CHUNK], labels[start : start + CHUNK, None]
            logits = (rows @ matrix.T).float()
            norm = logits.logsumexp(1, keepdim=True)
            nll = (norm - logits.gather(1, target)).sum()
            likelihood += nll
            uniform = (norm.squeeze(1) - logits.mean(1)).sum()
            total += (1 - smoothing) * nll + smoothing * uniform
            grad = logits.sub_(norm).exp_().sub_(smoothing / len(weight))
            grad.scatter_add_(1, target, torch.full_like(norm, smoothing - 1))
            grad = grad.to(hidden.dtype)
            hidden_grad[start : start + CHUNK] = grad @ matrix
            weight_grad += (grad.T @ rows).float()
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total, likelihood

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        """Scale the gradients that forward computed."""
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * grad.to(hidden_grad.dtype), weight_grad * grad, None, None


def projected_loss(
    hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Smoothed loss (differentiable) and plain negative log-likelihood, summed over the rows.

    Args:
        hidden: (N, dim), float32 or bfloat16.
        weight: (vocab, dim), float32: the tied embedding.
        labels: (N,), int64.
        smoothing: share of the target spread over the vocabulary.
    """
    loss, nll = _ProjectedLoss.apply(hidden, weight, labels, smoothing)
    return loss, nll.detach()
