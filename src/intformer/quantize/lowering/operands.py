"""The operands of element-wise operators on two values: forms, constants, layouts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intformer.ir.float_ops import WEIGHTED
from intformer.ir.graph import Node
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Context
from intformer.quantize.lowering.linear import accumulate
from intformer.quantize.params import Affine, FloatArray

Request = Callable[[Context, str, Form], str]
Branch = tuple[str, FloatArray]
"""An integer value with zero point 0, and its scale: one number or one per channel."""

CHANNELS_LAST = (0, 2, 3, 1)


def branches(context: Context, request: Request, node: Node, *, sums: bool) -> list[Branch]:
    """Both operands in one layout; with ``sums``, layers that nothing else reads as accumulators.

    Feature maps are channels-last if one of them is, and then the result is too.
    """
    computed = [_computed(context, request, value, sums) for value in node.inputs]
    last = any(value in context.channels_last for value in node.inputs)
    if last:
        context.channels_last.add(node.output)
    return [
        _constant(context, value, last)
        if branch is None
        else _laid_out(context, value, branch, last)
        for value, branch in zip(node.inputs, computed, strict=True)
    ]


def _computed(context: Context, request: Request, value: str, sums: bool) -> Branch | None:
    if value in context.source.constants:
        return None
    producer = context.producers.get(value)
    if sums and producer is not None and producer.op in WEIGHTED and context.only_use(value):
        found = accumulate(context, request, producer)
        return found.value, found.scale
    return request(context, value, "wide"), np.atleast_1d(context.affine(value, "wide").scale)


def _constant(context: Context, value: str, last: bool) -> Branch:
    array = context.vector(value)
    affine = Affine(max(float(np.abs(array).max()), 1e-30) / 32767, 0, "int16")
    if last:
        array = array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(CHANNELS_LAST)
    integers = affine.quantize(array).astype(np.int16)
    return context.constant(f"{value}.wide", integers), np.atleast_1d(affine.scale)


def _laid_out(context: Context, value: str, branch: Branch, last: bool) -> Branch:
    x, scale = branch
    if not last or value in context.channels_last:
        return branch
    return context.emit("transpose", (x,), value, f"{value}.turned", perm=CHANNELS_LAST), scale
