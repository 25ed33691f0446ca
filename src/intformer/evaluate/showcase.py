"""From a program, its float model and data to the report's contents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from intformer.evaluate.accuracy import Accuracy, framing_for
from intformer.evaluate.datasets import ImageData, spread
from intformer.evaluate.framing import Framing, Pixels
from intformer.evaluate.outputs import Runnable, class_names, logits_name
from intformer.evaluate.report import Picture

SHOWN_SIDE = 144
"""Pixels of a picture on the page, if the photograph has as many."""


def classify_some(
    program: Runnable, source: Any, data: ImageData, count: int = 28
) -> tuple[list[Picture], Pixels]:
    """Classify ``count`` pictures, spread over the data, with integers and with floats.

    Returns the pictures and the program's input.
    """
    from intformer.evaluate.floats import FloatModel

    framing = framing_for(program, source)
    large = replace(framing, size=(SHOWN_SIDE, SHOWN_SIDE))
    samples = list(data.read(spread(len(data), count)))
    pixels = np.stack([framing.apply(sample.image) for sample in samples])
    (name,) = program.graph.inputs
    ours, theirs = (
        np.asarray(outputs[logits_name(outputs)]).argmax(-1)
        for outputs in (program.run({name: pixels}), FloatModel(source).images(pixels))
    )
    names = class_names(program.graph)
    pictures = [
        Picture(
            pixels=_visible(sample.image, large, pixels[row]),
            integer=names[ours[row]],
            float=names[theirs[row]],
            truth=None if sample.label is None else names[sample.label],
        )
        for row, sample in enumerate(samples)
    ]
    return pictures, pixels


def _visible(image: Image.Image, large: Framing, pixels: Pixels) -> Pixels:
    """A photograph is shown larger than the program sees it."""
    return large.apply(image) if min(image.size) >= SHOWN_SIDE else pixels


def result_rows(measured: Accuracy, float_size: int, size: int) -> list[tuple[str, str, str]]:
    """Rows (what, float model, integer program) of the comparison table."""
    rows = []
    if measured.top1 is not None and measured.float_top1 is not None:
        rows.append(("top-1", f"{measured.float_top1:.2f} %", f"{measured.top1:.2f} %"))
    if measured.agreement is not None:
        rows.append(("same label as the float model", "", f"{measured.agreement:.2f} %"))
    rows.append(("pictures", f"{measured.images:,}", f"{measured.images:,}"))
    percent = 100 * size / float_size
    rows.append(("size", _megabytes(float_size), f"{_megabytes(size)} ({percent:.1f} %)"))
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
