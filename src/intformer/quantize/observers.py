"""Streaming statistics of activations: constant memory however many samples pass by."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 4096

SAMPLED = 1 << 16
"""Values per calibration sample that enter a histogram: whole rows, so no channel is missed."""


class ChannelRange:
    """Minimum and maximum of every channel (last axis)."""

    def __init__(self) -> None:
        self.low = self.high = torch.zeros(0)

    def update(self, x: Tensor) -> None:
        flat = x.detach().reshape(-1, x.shape[-1])
        low, high = flat.amin(0), flat.amax(0)
        if self.low.numel():
            low, high = torch.minimum(low, self.low), torch.maximum(high, self.high)
        self.low, self.high = low, high

    @property
    def middle(self) -> Tensor:
        """Centre of each channel's range."""
        return (self.low + self.high).double() / 2

    @property
    def width(self) -> Tensor:
        """Extent of each channel's range; channels that never vary get a small positive one."""
        width = (self.high - self.low).double()
        return torch.clamp(width, min=float(width.max()) * 1e-4 + 1e-12)


class Histogram:
    """Histogram over a symmetric range that doubles for larger values, plus exact extremes."""

    def __init__(self) -> None:
        self.low, self.high = float("inf"), float("-inf")
        self.reach = 0.0
        self.batches, self.sums = 0, (0.0, 0.0)
        self.counts = torch.zeros(BINS, dtype=torch.float64)

    def update(self, x: Tensor) -> None:
        low, high = (float(v) for v in torch.aminmax(x.detach()))
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.batches, self.sums = self.batches + 1, (self.sums[0] + low, self.sums[1] + high)
        self._widen(max(abs(low), abs(high), 1e-12))
        rows = x.detach().reshape(-1, x.shape[-1])
        sample = rows[:: -(-x.numel() // (SAMPLED * len(x)))].float()
        self.counts += torch.histc(sample, BINS, -self.reach, self.reach).double()

    def _widen(self, largest: float) -> None:
        """Double the range until ``largest`` fits; pairs of bins merge towards the centre."""
        if self.reach == 0.0:
            self.reach = largest
        while self.reach < largest:
            merged = torch.zeros_like(self.counts)
            merged[BINS // 4 : 3 * BINS // 4] = self.counts.reshape(-1, 2).sum(1)
            self.counts, self.reach = merged, 2 * self.reach

    @property
    def typical(self) -> tuple[float, float]:
        """Mean over the batches of their smallest and largest value."""
        return self.sums[0] / self.batches, self.sums[1] / self.batches

    def points(self) -> tuple[Tensor, Tensor]:
        """(values, weights) of the occupied bins, clipped to the exact extremes."""
        width = 2 * self.reach / BINS
        centres = (torch.arange(BINS, dtype=torch.float64) + 0.5) * width - self.reach
        used = self.counts > 0
        return centres[used].clamp(self.low, self.high), self.counts[used]

    def percentile(self, share: float) -> tuple[float, float]:
        """The range that holds ``share`` percent of the values, tails cut equally."""
        values, weights = self.points()
        cumulated = torch.cumsum(weights, 0) / weights.sum()
        tail = (1 - share / 100) / 2
        low = values[int(torch.searchsorted(cumulated, tail))]
        high = values[min(int(torch.searchsorted(cumulated, 1 - tail)), len(values) - 1)]
        return float(low), float(high)


class Covariance:
    """Mean [K] and second moments [K, K] of a linear layer's input [..., K]."""

    def __init__(self) -> None:
        self.count = 0
        self.total = torch.zeros(0)
        self.moments = torch.zeros(0)

    def update(self, x: Tensor) -> None:
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        self.count += len(flat)
        total, moments = flat.sum(0).double(), (flat.T @ flat).double()
        if self.total.numel():
            total, moments = total + self.total, moments + self.moments
        self.total, self.moments = total, moments

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def centred(self) -> Tensor:
        """Covariance matrix: what weight errors cost once the bias corrects their mean."""
        return self.moments / self.count - torch.outer(self.mean, self.mean)
