"""Top-1 accuracy of an integer program, and its agreement with the float model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.errors import InputError
from intformer.evaluate.datasets import Batch, ImageData, batches
from intformer.evaluate.framing import Framing
from intformer.evaluate.outputs import Runnable, class_count, logits_name

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Accuracy:
    """Results in percent; None where labels or a float model are absent."""

    images: int
    top1: float | None
    float_top1: float | None
    agreement: float | None
    milliseconds_per_image: float
    float_milliseconds_per_image: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields, in percent and milliseconds."""
        return asdict(self)


@dataclass
class _Tally:
    images: int = 0
    right: int = 0
    float_right: int = 0
    equal: int = 0
    seconds: float = 0.0
    float_seconds: float = 0.0


def accuracy(
    program: Runnable,
    data: ImageData,
    *,
    source: Any = None,
    batch_size: int = 64,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Accuracy:
    """Classify ``data`` with integers and, if ``source`` is given, with its float model.

    Args:
        program: a classifier of uint8 pixels.
        data: images; labels are needed for top-1 alone.
        source: the float model's ``Source``; it sees the same pixels, normalised.
        batch_size: images at a time.
        limit: this many images, spread evenly over the data.
        progress: called after each batch.

    Raises:
        InputError: the program is no classifier, an image is unreadable, or a label is not among
            the program's classes.
    """
    framing = framing_for(program, source)
    classes = class_count(program.graph)
    floats = _float_model(source)
    total = min(len(data), limit or len(data))
    tally = _Tally()
    for batch in batches(data, framing, size=batch_size, limit=limit):
        _check_labels(batch, classes)
        _count(tally, batch, program, floats)
        if progress is not None:
            progress(tally.images, total)
    return _result(tally, data.labelled, floats is not None)


def framing_for(program: Runnable, source: Any) -> Framing:
    """How to frame photographs: as the source says where there is one.

    Raises:
        InputError: program and source take images of different sizes.
    """
    own = Framing.of_program(program.graph)
    if source is None:
        return own
    theirs = Framing.of_source(source.preprocess)
    if theirs.size != own.size:
        raise InputError(
            f"{source.name} takes images of {theirs.size}, the program of {own.size}: "
            "it was not made from this model"
        )
    return theirs


def _float_model(source: Any) -> Any:
    if source is None:
        return None
    from intformer.evaluate.floats import FloatModel

    return FloatModel(source)


def _check_labels(batch: Batch, classes: int) -> None:
    if batch.labels is None or int(batch.labels.max()) < classes:
        return
    row = int(batch.labels.argmax())
    raise InputError(
        f"{batch.names[row]}: label {batch.labels[row]} is out of range: the program has {classes} "
        f"classes (0 to {classes - 1})"
    )


def _count(tally: _Tally, batch: Batch, program: Runnable, floats: Any) -> None:
    (name,) = program.graph.inputs
    start = time.perf_counter()
    predicted = _predict(program.run({name: batch.pixels}))
    tally.seconds += time.perf_counter() - start
    tally.images += len(predicted)
    tally.right += _hits(predicted, batch.labels)
    if floats is None:
        return
    start = time.perf_counter()
    expected = _predict(floats.images(batch.pixels))
    tally.float_seconds += time.perf_counter() - start
    tally.float_right += _hits(expected, batch.labels)
    tally.equal += int((predicted == expected).sum())


def _predict(outputs: dict[str, Any]) -> Labels:
    return np.asarray(outputs[logits_name(outputs)].argmax(-1), dtype=np.int64)


def _hits(predicted: Labels, labels: Labels | None) -> int:
    return 0 if labels is None else int((predicted == labels).sum())


def _result(tally: _Tally, labelled: bool, against: bool) -> Accuracy:
    def percent(count: int) -> float:
        return round(100.0 * count / tally.images, 4)

    def milliseconds(seconds: float) -> float:
        return round(1000.0 * seconds / tally.images, 4)

    return Accuracy(
        images=tally.images,
        top1=percent(tally.right) if labelled else None,
        float_top1=percent(tally.float_right) if labelled and against else None,
        agreement=percent(tally.equal) if against else None,
        milliseconds_per_image=milliseconds(tally.seconds),
        float_milliseconds_per_image=milliseconds(tally.float_seconds) if against else None,
    )
