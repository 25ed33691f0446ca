"""Values that depend on the inputs' sizes alone or on a mask: written by what they compute.

Both frontends meet them: a class token repeated over the batch, the first S rows of a position
table, an attention mask made of an integer input. Their arithmetic is not mapped operator by
operator; it is evaluated and the result is recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from intformer.errors import CaptureError
from intformer.frontend.build import Builder
from intformer.frontend.masks import is_key_mask
from intformer.ir.graph import Array, Shape

Sizes = Mapping[str, int]

SMALLER: tuple[dict[str, int], ...] = ({"N": 3, "S": 5}, {"N": 5, "S": 7})
"""Sizes besides the largest ones at which a value is evaluated."""


def largest(limits: Sizes) -> dict[str, int]:
    """The sizes at which a position table is seen whole; one sample is enough for that."""
    return {**limits, "N": 2}


def write_sized(
    builder: Builder, name: str, shape: Shape, evaluate: Callable[[Sizes], Array]
) -> str:
    """Write a floating-point value that depends on sizes alone.

    Args:
        builder: where to write; its ``path`` names the module in errors.
        name: a name for the constant behind the value.
        shape: its symbolic shape.
        evaluate: sizes -> the value.

    Raises:
        CaptureError: it is neither a constant repeated over the batch nor a position table.
    """
    full = evaluate(largest(builder.graph.limits))
    if (full.dtype == np.bool_ or "S" in shape) and _is_uniform(full, evaluate):
        return builder.constant(name, full.flat[0].reshape((1,) * full.ndim))
    if not np.issubdtype(full.dtype, np.floating):
        raise CaptureError(f"{builder.path}: {name} makes integers of type {full.dtype} from sizes")
    if isinstance(shape[0], str) and shape[0].endswith("*N"):
        return _windows(builder, name, shape, full)
    if shape.count("N") > 1 or (shape[0] != "N" and "N" in shape):
        raise CaptureError(f"{builder.path}: {name} repeats a constant to {list(shape)}")
    one = full[:1]
    if "S" not in shape:
        return builder.emit("expand", builder.constant(name, one), axis=0)
    for sizes in SMALLER:
        part = evaluate(sizes)
        prefix = one[:, : sizes["S"]]
        if full.ndim != 3 or not (part == np.broadcast_to(prefix, part.shape)).all():
            raise CaptureError(
                f"{builder.path}: {name} depends on the sequence length in a way that is not a "
                "position table"
            )
    if (one == one[:, :1]).all():  # one token type for all, for example
        return builder.constant(name, one[:, :1])
    ids = next(x for x, t in builder.graph.inputs.items() if t.shape[1:] == ("S",))
    return builder.emit("positions", ids, builder.constant(name, one[0]))


def _windows(builder: Builder, name: str, shape: Shape, full: Array) -> str:
    """A constant of one image's windows, repeated for every image (the mask of shifted windows)."""
    first, second = np.split(full, 2)
    if not (first == second).all():
        raise CaptureError(f"{builder.path}: {name} depends on the image's place in the batch")
    repeated = builder.emit("expand", builder.constant(name, first[None]), axis=0)
    return builder.reshape(repeated, shape)


def _is_uniform(full: Array, evaluate: Callable[[Sizes], Array]) -> bool:
    """Whether every element is the same at every size, as in the mask of a model without one."""
    parts = (full, *(evaluate(sizes) for sizes in SMALLER))
    return all(bool((part == full.flat[0]).all()) for part in parts)


def write_mask(builder: Builder, name: str, evaluate: Callable[[Array], Array]) -> str:
    """Write an attention mask that is made of the integer input ``name``.

    Args:
        builder: where to write; its ``path`` names the module in errors.
        name: the graph input, integer [N, S].
        evaluate: values of that input -> the attention mask.

    Raises:
        CaptureError: it is anything but a key-padding mask.
    """
    if builder.shape(name) != ("N", "S") or not is_key_mask(evaluate):
        raise CaptureError(
            f"{builder.path or 'the model'}: the attention mask made from {name!r} is not a "
            "key-padding mask; only masks that keep keys where the input is 1 are supported"
        )
    return builder.emit("key_mask", name)
