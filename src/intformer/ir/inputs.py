"""Checks what a user feeds to a program against what the program declares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intformer.errors import InputError
from intformer.ir.graph import INTEGER_RANGES, Array, Graph, TensorType


def check_inputs(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs as arrays of exactly the declared dtypes.

    Any integer or boolean dtype is accepted as long as every value fits.

    Raises:
        InputError: missing or unknown input, float data, wrong shape, value out of range, or two
            inputs that disagree about a symbolic dimension.
    """
    unknown, missing = set(inputs) - set(graph.inputs), set(graph.inputs) - set(inputs)
    if unknown or missing:
        wanted = ", ".join(f"{n}: {t}" for n, t in graph.inputs.items())
        found = {"missing": missing, "unknown": unknown}
        what = ", ".join(f"{kind} {sorted(names)}" for kind, names in found.items() if names)
        raise InputError(f"inputs: {what}; this program takes {wanted}")
    sizes: dict[str, int] = {}
    checked = {}
    for name, kind in graph.inputs.items():
        array = _array(name, inputs[name])
        _check_shape(graph, name, array, kind, sizes)
        checked[name] = _check_values(graph, name, array, kind)
    return checked


def _array(name: str, data: Array) -> Array:
    try:
        return np.asarray(data)
    except ValueError as error:
        raise InputError(f"input '{name}' is not an array: {error}") from None


def _check_shape(
    graph: Graph, name: str, array: Array, kind: TensorType, sizes: dict[str, int]
) -> None:
    if array.ndim != len(kind.shape):
        raise InputError(_expected(name, array, kind))
    for size, dim in zip(array.shape, kind.shape, strict=True):
        if isinstance(dim, int):
            if size != dim:
                raise InputError(_expected(name, array, kind))
            continue
        if size == 0:
            raise InputError(f"input '{name}' is empty: dimension {dim} is 0")
        limit = graph.limits.get(dim)
        if limit is not None and size > limit:
            raise InputError(f"input '{name}': dimension {dim} is {size}, at most {limit}")
        if sizes.setdefault(dim, size) != size:
            other = f"{dim} is {sizes[dim]} in another input"
            raise InputError(f"{_expected(name, array, kind)}: {other}")


def _expected(name: str, array: Array, kind: TensorType) -> str:
    text = f"input '{name}' must have shape {_text(kind)}, got {tuple(array.shape)}"
    if kind.shape[-1:] == (3,) and array.ndim == 4 and array.shape[1] == 3:
        text += "; pixels are channels-last, use array.transpose(0, 2, 3, 1)"
    return text


def _text(kind: TensorType) -> str:
    return "(" + ", ".join(str(d) for d in kind.shape) + ")"


def _check_values(graph: Graph, name: str, array: Array, kind: TensorType) -> Array:
    if array.dtype.kind not in "iub":
        raise InputError(
            f"input '{name}' must be integers ({kind.dtype}), got {array.dtype}; "
            "programs take raw values, for example uint8 pixels, not normalised floats"
        )
    possible = INTEGER_RANGES[kind.dtype]
    low, high = graph.input_ranges.get(name, possible)
    if array.dtype == kind.dtype and (low, high) == possible:
        return array
    least, most = int(array.min()), int(array.max())
    if least < low or most > high:
        value = least if least < low else most
        raise InputError(f"input '{name}': value {value} is outside [{low}, {high}]")
    return array.astype(kind.dtype, copy=False)
