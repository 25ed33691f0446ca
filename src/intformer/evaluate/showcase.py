"""From a program, its float model and data to the report's contents."""

from __future__ import annotations

from typing import Any

import numpy as np

from intformer.evaluate.accuracy import Accuracy, framing_for
from intformer.evaluate.datasets import Batch, ImageData, batches
from intformer.evaluate.outputs import Runnable, class_names, logits_name
from intformer.evaluate.report import Picture


def classify_some(
    program: Runnable, source: Any, data: ImageData, count: int = 28
) -> tuple[list[Picture], Batch]:
    """Classify ``count`` pictures, spread over the data, with integers and with floats."""
    from intformer.evaluate.floats import FloatModel

    framing = framing_for(program, source)
    batch = next(batches(data, framing, size=count, limit=count))
    (name,) = program.graph.inputs
    integers = program.run({name: batch.pixels})
    floats = FloatModel(source).images(batch.pixels)
    names = class_names(program.graph)
    ours, theirs = (np.asarray(o[logits_name(o)]).argmax(-1) for o in (integers, floats))
    pictures = [
        Picture(
            pixels=batch.pixels[row],
            integer=names[ours[row]],
            float=names[theirs[row]],
            truth=None if batch.labels is None else names[batch.labels[row]],
        )
        for row in range(len(batch.pixels))
    ]
    return pictures, batch


def result_rows(measured: Accuracy, float_size: int, size: int) -> list[tuple[str, str, str]]:
    """Rows (what, float model, integer program) of the comparison table."""
    rows = []
    if measured.top1 is not None and measured.float_top1 is not None:
        rows.append(("top-1", f"{measured.float_top1:.2f} %", f"{measured.top1:.2f} %"))
    if measured.agreement is not None:
        rows.append(("same label as the float model", "", f"{measured.agreement:.2f} %"))
    rows.append(("pictures", f"{measured.images:,}", f"{measured.images:,}"))
    rows.append(
        ("size", _megabytes(float_size), f"{_megabytes(size)} ({100 * size / float_size:.1f} %)")
    )
    rows.append(
        (
            "time per picture",
            f"{measured.float_milliseconds_per_image or 0:.1f} ms",
            f"{measured.milliseconds_per_image:.1f} ms",
        )
    )
    return rows


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
