"""The integer primitives on torch tensors, bit for bit those of the NumPy reference.

They run a program on any torch device and are the forward pass of the trainable twin, so every
primitive works under ``torch.autocast`` and whatever float32 matmul precision training has set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from intformer.arith import Immediate, Primitives
from intformer.ir.graph import Array, Graph
from intformer.ir.inputs import check_inputs
from intformer.reference import execute

DTYPES: dict[str, torch.dtype] = {
    "bool": torch.bool,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
}
"""Element types of the integer stage as torch dtypes."""


class TorchPrimitives(Immediate):
    """Realises ``intformer.arith.Primitives`` on ``torch.Tensor`` of any device."""

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        return x.to(DTYPES[dtype])

    def pow2(self, s: int) -> int:
        return 1 << s

    def floor_shift(self, x: Tensor, s: int) -> Tensor:
        return x >> s

    def floor_divide(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.div(x, y, rounding_mode="floor")

    def minimum(self, x: Tensor, y: Tensor | int) -> Tensor:
        return torch.minimum(x, y) if isinstance(y, Tensor) else x.clamp(max=y)

    def maximum(self, x: Tensor, y: Tensor | int) -> Tensor:
        return torch.maximum(x, y) if isinstance(y, Tensor) else x.clamp(min=y)

    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(condition, x, y)

    def sum(self, x: Tensor, axis: int) -> Tensor:
        return x.sum(dim=axis, keepdim=True, dtype=x.dtype)

    def max(self, x: Tensor, axis: int) -> Tensor:
        return x.amax(dim=axis, keepdim=True)

    def argmax(self, x: Tensor, axis: int) -> Tensor:
        """The smallest index of the maximum, spelt out: ``Tensor.argmax`` may take another."""
        size = x.shape[axis]
        index = torch.arange(size, device=x.device).reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))
        return torch.where(x == self.max(x, axis), index, size).amin(dim=axis)

    def lookup(self, table: Tensor | list[int], index: Tensor) -> Tensor:
        if isinstance(table, list):
            table = torch.tensor(table, dtype=index.dtype, device=index.device)
        return table[index.long()]

    def rows(self, table: Tensor, index: Tensor) -> Tensor:
        return table[index.long()]

    def leading_rows(self, table: Tensor, like: Tensor) -> Tensor:
        return table[None, : like.shape[1]]

    def arange(self, like: Tensor, axis: int) -> Tensor:
        return torch.arange(like.shape[axis], dtype=torch.int32, device=like.device)

    def matmul(self, a: Tensor, b: Tensor, a_zero: int, b_zero: int) -> Tensor:
        """Exact int32 product through float BLAS.

        Sums of integers are exact in any order while none can pass 2^24 in float32 or 2^53 in
        float64. float32 is used only if its products are real ones: no TF32, bfloat16 or autocast.
        """
        left = a.to(torch.int16) - a_zero
        right = b.to(torch.int16) - b_zero
        exact = _float32_is_exact() and _product_bound(left, right) < 2**24
        kind = torch.float32 if exact else torch.float64
        with torch.autocast(a.device.type, enabled=False):
            return torch.matmul(left.to(kind), right.to(kind)).to(torch.int32)

    def reshape(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(shape)])

    def transpose(self, x: Tensor, perm: tuple[int, ...]) -> Tensor:
        return x.permute(perm)

    def slice(self, x: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, stop, step)
        return x[tuple(index)]

    def concat(self, xs: list[Tensor], axis: int) -> Tensor:
        return torch.cat(xs, axis)

    def repeat_batch(self, x: Tensor, like: Tensor) -> Tensor:
        return x.expand(like.shape[0], *x.shape[1:])

    def pad(self, x: Tensor, axis_pads: dict[int, tuple[int, int]]) -> Tensor:
        backwards = (axis_pads.get(axis, (0, 0)) for axis in reversed(range(x.ndim)))
        return F.pad(x, [count for pair in backwards for count in pair])


def _float32_is_exact() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # torch refuses to answer once a backend has a precision of its own
        return False


def _product_bound(left: Tensor, right: Tensor) -> int:
    """No partial sum of left @ right exceeds this in magnitude."""
    if left.numel() == 0 or right.numel() == 0:
        return 0
    columns = right.abs().sum(dim=-2, dtype=torch.int64)
    return int(left.abs().max()) * int(columns.max())


def tensor(array: Array, device: str | torch.device = "cpu") -> Tensor:
    """A copy of ``array`` as a tensor of the same integer dtype on ``device``."""
    return torch.from_numpy(np.array(array, order="C")).to(device)


@torch.no_grad()
def run_torch(
    graph: Graph, inputs: Mapping[str, Array], device: str | torch.device = "cpu"
) -> dict[str, Array]:
    """Run ``graph`` (integer stage) with torch on ``device``; the same bytes as ``interpret``.

    Raises:
        InputError: an input is missing, unknown, of the wrong shape or kind, or out of range.
    """
    checked = {**graph.constants, **check_inputs(graph, inputs)}
    values: dict[str, Any] = {name: tensor(array, device) for name, array in checked.items()}
    outputs = execute(graph, cast(Primitives, TorchPrimitives()), values)
    return {name: value.cpu().numpy() for name, value in outputs.items()}
