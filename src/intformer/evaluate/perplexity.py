"""Perplexity of a language program by integer log-likelihood, beside its float model's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.evaluate.outputs import Runnable
from intformer.generate.fixed_point import SCORE_BITS
from intformer.generate.model import logit_scale
from intformer.generate.ranking import label_scores

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Perplexity:
    """Perplexity per token; ``log2_units`` is the exact sum of scores in 2^-16 octaves.

    ``increase`` is what the program adds to the float model's perplexity, in percent.
    """

    tokens: int
    perplexity: float
    log2_units: int
    float_perplexity: float | None
    increase: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def perplexity(
    program: Runnable,
    rows: NDArray[np.int64],
    *,
    source: Any = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Perplexity:
    """How well a program predicts a text.

    The log-likelihood is a sum of the integers that beam search adds up (docs/sequence.md,
    "Scores"), so it is the same on every machine; only its exponential is a float.

    Args:
        program: a language model.
        rows: int64 [N, L + 1], see ``evaluate.sequences.blocks``.
        source: the float model's ``Source``.
        batch_size: rows at a time.
        progress: called with (rows done, rows in all).
    """
    total, nats = 0, 0.0
    for done, batch in _batches(rows, batch_size):
        total += _integer(program, batch)
        nats += _float(source, batch) if source is not None else 0.0
        if progress is not None:
            progress(done, len(rows))
    count = rows[:, 1:].size
    own = 2.0 ** (-total / 2**SCORE_BITS / count)
    theirs = None if source is None else math.exp(nats / count)
    return Perplexity(
        tokens=count,
        perplexity=round(own, 4),
        log2_units=total,
        float_perplexity=None if theirs is None else round(theirs, 4),
        increase=None if theirs is None else round(100 * (own / theirs - 1), 4),
    )


def _batches(rows: NDArray[np.int64], size: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for first in range(0, len(rows), size):
        batch = rows[first : first + size]
        yield first + len(batch), batch


def _integer(program: Runnable, batch: NDArray[np.int64]) -> int:
    (name,) = program.graph.inputs
    logits = program.run({name: np.ascontiguousarray(batch[:, :-1])})["logits"]
    flat = logits.reshape(-1, logits.shape[-1])
    scores = label_scores(flat, logit_scale(program.graph), batch[:, 1:].reshape(-1))
    return int(scores.sum())


def _float(source: Any, batch: NDArray[np.int64]) -> float:
    """Negative log-likelihood in nats."""
    import torch

    from intformer.quantize.float_run import FloatRunner

    (name,) = source.graph.inputs
    with torch.inference_mode():
        ids = torch.from_numpy(batch)
        logits = FloatRunner(source.graph).outputs({name: ids[:, :-1]})["logits"]
        return float(
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).double(), ids[:, 1:].flatten(), reduction="sum"
            )
        )
