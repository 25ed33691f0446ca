"""Windows: borders that never win a maximum."""

from __future__ import annotations

from intformer.errors import CaptureError
from intformer.frontend.rewrite import Rewriter
from intformer.frontend.shapes import fixed
from intformer.ir.graph import Node


def lowest_border(rw: Rewriter, node: Node) -> str | None:
    """A maximum of windows with -inf around: with the outermost pixels repeated instead.

    A window that reaches into the border also covers the pixel that the border repeats, unless it
    lies in the border whole.
    """
    if node.op != "max_pool":
        return None
    border = rw.producer(node.inputs[0], "border")
    if border is None:
        return None
    before, after = border.numbers("before"), border.numbers("after")
    (x,) = border.inputs
    if any((*before[:2], *after[:2])):
        return None
    for axis in (2, 3):
        _check(rw, node, x, axis, before[axis])
        x = _repeated(rw, x, axis, before[axis], after[axis])
    return rw.emit_with("max_pool", [x], node.attrs)


def _check(rw: Rewriter, node: Node, x: str, axis: int, before: int) -> None:
    size, count = fixed(rw.shape(x)[axis]), fixed(rw.shape(node.output)[axis])
    kernel, stride, padding = (node.numbers(k)[axis - 2] for k in ("kernel", "stride", "padding"))
    first = -before - padding
    last = first + (count - 1) * stride
    if first + kernel <= 0 or last >= size:
        raise CaptureError(f"{node.name}: a window of the maximum lies outside of the image")


def _repeated(rw: Rewriter, x: str, axis: int, before: int, after: int) -> str:
    size = fixed(rw.shape(x)[axis])
    first = [rw.slice(x, axis, 0, 1)] * before
    last = [rw.slice(x, axis, size - 1, size)] * after
    return rw.emit("concat", *first, x, *last, axis=axis) if first or last else x
