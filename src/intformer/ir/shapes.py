"""Shape inference with symbolic dimensions."""

from __future__ import annotations

import math
from collections import Counter

from intformer.errors import VerifyError
from intformer.ir.graph import Dim, Shape


def text(shape: Shape) -> str:
    """``[N, 197, 64]``: a shape as messages print it."""
    return "[" + ", ".join(str(d) for d in shape) + "]"


def axis_of(shape: Shape, axis: int) -> int:
    """``axis`` counted from the front; raises where ``shape`` has no such axis."""
    if not -len(shape) <= axis < len(shape):
        raise VerifyError(f"axis {axis} is outside {text(shape)}")
    return axis % len(shape)


def broadcast(a: Shape, b: Shape) -> Shape:
    """The NumPy broadcast of two shapes; a symbol equals itself only."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    result: list[Dim] = []
    for x, y in zip(left, right, strict=True):
        if x != y and 1 not in (x, y):
            raise VerifyError(f"shapes {a} and {b} do not broadcast")
        result.append(y if x == 1 else x)
    return tuple(result)


def matmul(a: Shape, b: Shape) -> Shape:
    """Shape of a @ b."""
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise VerifyError(f"matmul of {a} and {b}: inner dimensions differ")
    return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])


def reshape(shape: Shape, target: tuple[int, ...]) -> Shape:
    """Resolve 0 (copy) and -1 (infer) of a reshape."""
    if target.count(-1) > 1 or any(d < -1 for d in target):
        raise VerifyError(f"reshape to {target}: at most one -1, nothing below it")
    if any(d == 0 and i >= len(shape) for i, d in enumerate(target)):
        raise VerifyError(f"reshape of {shape} to {target}: 0 copies a dimension that is not there")
    result: list[Dim] = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    size, symbols = _product(shape)
    known, used = _product(tuple(d for d in result if d != -1))
    rest = symbols - used
    mismatch = VerifyError(f"cannot reshape {shape} to {target}")
    if used - symbols or known == 0 or size % known:
        raise mismatch
    left: list[Dim] = list(rest.elements())
    if -1 not in result:
        if left or size != known:
            raise mismatch
        return tuple(result)
    if len(left) > 1 or (left and size != known):
        raise VerifyError(f"reshape of {shape} to {target}: -1 would be a product with a symbol")
    result[result.index(-1)] = left[0] if left else size // known
    return tuple(result)


def _product(shape: Shape) -> tuple[int, Counter[str]]:
    size = math.prod(d for d in shape if isinstance(d, int))
    return size, Counter(d for d in shape if isinstance(d, str))


def sliced(shape: Shape, axis: int, start: int, stop: int, step: int) -> Shape:
    """Shape of x[start:stop:step] along ``axis``; indices count from 0, the axis must be fixed."""
    axis = axis_of(shape, axis)
    size = shape[axis]
    if step < 1:
        raise VerifyError(f"slice step {step} must be positive")
    if not isinstance(size, int):
        if (start, stop, step) == (0, 1, 1):
            return (*shape[:axis], 1, *shape[axis + 1 :])
        raise VerifyError(f"only the first element of symbolic dimension {size} can be sliced off")
    if not 0 <= start < stop <= size:
        raise VerifyError(f"slice {start}:{stop} is outside dimension {axis} of {shape}")
    return (*shape[:axis], -(-(stop - start) // step), *shape[axis + 1 :])


def concat(parts: list[Shape], axis: int) -> Shape:
    """Shape of a concatenation along a fixed ``axis``."""
    first = parts[0]
    axis = axis_of(first, axis)
    total = 0
    for part in parts:
        size = part[axis] if len(part) == len(first) else None
        if not isinstance(size, int):
            raise VerifyError(f"concat of {parts} along axis {axis} is not defined")
        if part[:axis] + part[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise VerifyError(f"concat of {parts}: the other dimensions differ")
        total += size
    return (*first[:axis], total, *first[axis + 1 :])
