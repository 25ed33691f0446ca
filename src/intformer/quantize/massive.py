"""Streams that need 20 bits: a few of their values dwarf all others.

Language models put massive values into a few channels of their first token (Sun et al., arXiv
2402.17762), a thousand times the typical one. A stream of 16 bits that holds them has few levels
left for the rest, and every residual sum rounds anew.
"""

from __future__ import annotations

import torch

from intformer.ir.graph import Graph, Node
from intformer.quantize.observers import Histogram
from intformer.quantize.recipe import Recipe

STREAM_DB = 54.0
"""Signal-to-noise ratio that a typical value has in a stream of 16 bits; else it gets 20."""

READERS = ("add", "rms_norm", "layer_norm")
"""Operators that take 20 bits."""

MOST_CHANNELS = 2047
"""Rows up to this length normalise exactly in 64 bits."""

NORMAL_QUARTILE = 0.6745
"""Median magnitude of a normal distribution of deviation 1."""


def needs_20_bits(
    graph: Graph, producer: Node | None, readers: list[Node], seen: Histogram, recipe: Recipe
) -> bool:
    """Whether a value of the residual stream gets 20 bits instead of 16.

    Args:
        graph: the float graph.
        producer: what computes the value, if that is a node.
        readers: what reads it.
        seen: its histogram.
        recipe: with ``promote_below_db = 0`` nothing gets more bits.
    """
    if producer is None or producer.op != "add" or not readers:
        return False
    channels = graph.types[producer.output].shape[-1]
    fits = isinstance(channels, int) and channels <= MOST_CHANNELS
    ours = all(n.op in READERS and recipe.for_layer(n.name, "norm") == "exact" for n in readers)
    if not (fits and ours and recipe.promote_below_db):
        return False
    return typical_db(seen, recipe.residual_margin) < STREAM_DB


def typical_db(seen: Histogram, margin: float) -> float:
    """Signal-to-noise ratio of a typical value if the largest takes 16 bits."""
    values, weights = seen.points()
    order = torch.argsort(values.abs())
    share = torch.cumsum(weights[order], 0) / weights.sum()
    median = float(values.abs()[order][int(torch.searchsorted(share, 0.5))])
    step = max(abs(seen.low), abs(seen.high)) * margin / (2**15 - 1)
    return float(
        20 * torch.log10(torch.tensor(max(median / NORMAL_QUARTILE / step, 1e-6)) * 12**0.5)
    )
