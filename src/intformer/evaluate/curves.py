"""Curves of a training as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 320.0, 120.0
MOST_POINTS = 300


@dataclass(frozen=True)
class Curve:
    """A named series of (x, y), x ascending; ``unit`` follows the numbers."""

    name: str
    points: Sequence[tuple[float, float]]
    unit: str = ""

    @property
    def path(self) -> str:
        """Points of an SVG polyline in a box of WIDTH by HEIGHT; long series are averaged."""
        points = self.thinned()
        (left, right), (low, high) = (_extent([p[axis] for p in points]) for axis in (0, 1))
        return " ".join(
            f"{WIDTH * (x - left) / (right - left):.1f},"
            f"{HEIGHT * (1 - (y - low) / (high - low)):.1f}"
            for x, y in points
        )

    def thinned(self) -> list[tuple[float, float]]:
        """At most MOST_POINTS points, each the mean of its neighbours."""
        size = -(-len(self.points) // MOST_POINTS)
        edges = [*range(0, len(self.points), size), len(self.points)]
        groups = [self.points[a:b] for a, b in pairwise(edges)]
        return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]

    @property
    def first(self) -> str:
        """The first value as text."""
        return self._text(self.points[0][1])

    @property
    def last(self) -> str:
        """The last value as text."""
        return self._text(self.points[-1][1])

    def _text(self, value: float) -> str:
        return f"{value:.4g}{self.unit}"


def _extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
