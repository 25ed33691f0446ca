"""Top-1 of a float student."""

from __future__ import annotations

from typing import Any

import torch

from intformer.evaluate.datasets import ImageData, batches
from intformer.evaluate.framing import Framing
from intformer.frontend.sources import Source


@torch.no_grad()
def float_accuracy(student: Any, data: ImageData, source: Source) -> float:
    """Percent of the images that ``student`` classifies as labelled, in evaluation mode."""
    training = student.training
    student.eval()
    right = total = 0
    for batch in batches(data, Framing.of_source(source.preprocess)):
        found = student(pixels=batch.pixels)["logits"].argmax(-1).cpu().numpy()
        right += int((found == batch.labels).sum())
        total += len(found)
    student.train(training)
    return 100 * right / total
