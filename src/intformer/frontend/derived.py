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
from intformer.frontend.masks import is_causal_mask, is_identity, is_key_mask
from intformer.ir.graph import Array, Shape

Sizes = Mapping[str, int]

SEQUENCES = ("S", "T")
"""Symbols of sequence lengths: of a source (or the only sequence), and of a target."""

SMALLER: tuple[dict[str, int], ...] = ({"N": 3, "S": 5, "T": 5}, {"N": 5, "S": 7, "T": 7})
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
        CaptureError: it is neither a constant repeated over the batch nor a position table nor a
            causal mask.
    """
    full = evaluate(largest(builder.graph.limits))
    symbols = [d for d in SEQUENCES if d in shape]
    if (full.dtype == np.bool_ or symbols) and _is_uniform(full, evaluate):
        return builder.constant(name, full.flat[0].reshape((1,) * full.ndim))
    if len(symbols) == 1 and shape.count(symbols[0]) == 2:
        return _write_causal(builder, name, symbols[0], full, evaluate)
    if not np.issubdtype(full.dtype, np.floating):
        raise CaptureError(f"{builder.path}: {name} makes integers of type {full.dtype} from sizes")
    if isinstance(shape[0], str) and shape[0].endswith("*N"):
        return _windows(builder, name, shape, full)
    if shape.count("N") > 1 or (shape[0] != "N" and "N" in shape):
        raise CaptureError(f"{builder.path}: {name} repeats a constant to {list(shape)}")
    if not symbols:
        return builder.emit("expand", builder.constant(name, full[:1]), axis=0)
    return _write_positions(builder, name, shape, full, evaluate)


def _write_positions(
    builder: Builder, name: str, shape: Shape, full: Array, evaluate: Callable[[Sizes], Array]
) -> str:
    """A table whose first rows are used: [1, S, C], or [1, 1, S, C] as rotations have it."""
    symbol = next(d for d in SEQUENCES if d in shape)
    axis = shape.index(symbol)
    table = full.reshape(-1, *full.shape[axis:])[0]
    for sizes in SMALLER:
        part = evaluate(sizes)
        prefix = table[: sizes[symbol]]
        if full.ndim - axis != 2 or not (part == np.broadcast_to(prefix, part.shape)).all():
            raise CaptureError(
                f"{builder.path}: {name} depends on the sequence length in a way that is not a "
                "position table"
            )
    ones = (1,) * (max(len(shape), 3) - 2)
    if (table == table[:1]).all():  # one token type for all, for example
        return builder.constant(name, table[:1].reshape(*ones, *table[:1].shape))
    ids = _sequence_input(builder, symbol)
    rows = builder.emit("positions", ids, _shared(builder, name, table))
    return builder.reshape(rows, (*ones, symbol, table.shape[1]))


def _shared(builder: Builder, name: str, table: Array) -> str:
    """A constant for ``table``; layers that make the same angles anew share one."""
    readers = [node for node in builder.graph if node.op == "positions"]
    for value in dict.fromkeys(node.inputs[1] for node in readers):
        if np.array_equal(builder.graph.constants[value], table):
            return value
    return builder.constant(name, table)


def _write_causal(
    builder: Builder, name: str, symbol: str, full: Array, evaluate: Callable[[Sizes], Array]
) -> str:
    """A mask that lets each position see itself and those before, or its negation."""
    parts = [full, *(evaluate(sizes) for sizes in SMALLER)]
    ids = _sequence_input(builder, symbol)
    if all(is_causal_mask(part) for part in parts):
        return builder.emit("causal_mask", ids, hides=False)
    if full.dtype == np.bool_ and all(is_causal_mask(~part) for part in parts):
        return builder.emit("causal_mask", ids, hides=True)
    raise CaptureError(
        f"{builder.path}: {name} is neither a causal mask nor one that hides nothing"
    )


def _sequence_input(builder: Builder, symbol: str) -> str:
    return next(x for x, t in builder.graph.inputs.items() if t.shape[1:] == (symbol,))


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
    """Write what is made of the integer input ``name``: itself, or an attention mask.

    Args:
        builder: where to write; its ``path`` names the module in errors.
        name: the graph input, integer [N, S].
        evaluate: values of that input -> the attention mask.

    Raises:
        CaptureError: it is anything but a key-padding mask.
    """
    sequence = len(builder.shape(name)) == 2
    if sequence and is_identity(evaluate):
        return name
    if sequence and is_key_mask(evaluate):
        return builder.emit("key_mask", name, hides=False)
    if not sequence or not is_key_mask(lambda mask: np.logical_not(evaluate(mask))):
        raise CaptureError(
            f"{builder.path or 'the model'}: the attention mask made from {name!r} is not a "
            "key-padding mask; only masks that keep keys where the input is 1 are supported"
        )
    return builder.emit("key_mask", name, hides=True)
