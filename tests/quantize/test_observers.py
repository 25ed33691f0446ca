"""Streaming statistics equal those of all samples at once, in constant memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intformer.quantize.observers import BINS, ChannelRange, Covariance, Histogram


def parts(seed: int = 0) -> list[torch.Tensor]:
    """Batches whose extremes grow, shrink and change sign."""
    random = np.random.default_rng(seed)
    sizes = (0.01, 3.0, 0.5, 40.0, 7.0)
    return [
        torch.from_numpy(random.normal(shift, size, (50, 4, 8)).astype(np.float32))
        for shift, size in zip((0, 1, -2, 5, 0), sizes, strict=True)
    ]


def test_histogram_keeps_every_value_and_the_exact_extremes() -> None:
    histogram, batches = Histogram(), parts()
    for index, batch in enumerate(batches):
        histogram.update(batch)
        seen = torch.stack(batches[: index + 1])
        assert histogram.counts.sum() == seen.numel()
        assert (histogram.low, histogram.high) == (float(seen.min()), float(seen.max()))
        assert histogram.reach >= seen.abs().max()


def test_widening_merges_bins_without_moving_values() -> None:
    """Bins of the final range hold what a histogram of that range made at once would hold."""
    histogram, batches = Histogram(), parts()
    for batch in batches:
        histogram.update(batch)
    values = torch.stack(batches).flatten()
    direct = torch.histc(values, BINS, -histogram.reach, histogram.reach).double()
    moved = (torch.cumsum(histogram.counts, 0) - torch.cumsum(direct, 0)).abs().max()
    assert moved <= 2  # values on the border of two bins


def test_histogram_memory_does_not_grow() -> None:
    histogram = Histogram()
    for seed in range(20):
        for batch in parts(seed):
            histogram.update(batch)
    tensors = [v for v in vars(histogram).values() if isinstance(v, torch.Tensor)]
    assert sum(t.numel() for t in tensors) == BINS


def test_points_are_where_the_values_are() -> None:
    histogram = Histogram()
    histogram.update(torch.tensor([-1.0, 0.25, 0.25, 4.0]))
    values, weights = histogram.points()
    width = 8 / BINS
    assert weights.tolist() == [1, 2, 1]
    assert np.abs(values.numpy() - [-1, 0.25, 4]).max() <= width
    assert values.min() >= -1 and values.max() <= 4


@pytest.mark.parametrize("share", [90.0, 99.0, 99.9])
def test_percentile_equals_that_of_all_values(share: float) -> None:
    random = np.random.default_rng(4)
    x = random.standard_t(3, 40000).astype(np.float32) + 1
    histogram = Histogram()
    for batch in np.split(x, 8):
        histogram.update(torch.from_numpy(batch))
    tail = (100 - share) / 2
    exact = np.percentile(x, [tail, 100 - tail], method="lower")
    assert np.abs(np.array(histogram.percentile(share)) - exact).max() <= 4 * histogram.reach / BINS


def test_percentile_of_all_is_the_whole_range() -> None:
    histogram = Histogram()
    histogram.update(torch.linspace(-3, 5, 1000))
    low, high = histogram.percentile(100.0)
    assert low == pytest.approx(-3, abs=0.01) and high == pytest.approx(5, abs=0.01)


def test_channel_ranges() -> None:
    ranges, batches = ChannelRange(), parts()
    for batch in batches:
        ranges.update(batch)
    flat = torch.cat([batch.reshape(-1, 8) for batch in batches])
    assert torch.equal(ranges.low, flat.amin(0)) and torch.equal(ranges.high, flat.amax(0))
    assert torch.allclose(ranges.middle, (flat.amin(0) + flat.amax(0)).double() / 2)


def test_a_channel_that_never_varies_has_a_positive_width() -> None:
    ranges = ChannelRange()
    ranges.update(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert ranges.width[0] == pytest.approx(2)
    assert 0 < ranges.width[1] < 1e-3


def test_covariance_equals_that_of_all_rows() -> None:
    covariance, batches = Covariance(), parts()
    for batch in batches:
        covariance.update(batch)
    rows = torch.cat([batch.reshape(-1, 8) for batch in batches]).double().numpy()
    assert np.allclose(covariance.mean.numpy(), rows.mean(0), rtol=1e-4)
    assert np.allclose(covariance.centred.numpy(), np.cov(rows.T, bias=True), rtol=1e-3, atol=0.05)
    assert covariance.count == len(rows) and covariance.moments.shape == (8, 8)
