"""The arithmetic on numbers and on intervals at once: every step checked against its proof.

Numbers are Python integers, so they cannot wrap. A step whose numbers leave the interval, the shape
or the element type that the verifier would infer fails with the name of the primitive.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from intformer.arith import Immediate
from intformer.ir.graph import INTEGER_RANGES
from intformer.ir.interval import Interval, IntervalPrimitives


class Pair:
    """A tensor of Python integers and what is proved about it."""

    def __init__(self, numbers: Any, proof: Interval, step: str) -> None:
        self.numbers, self.proof = np.asarray(numbers, object), proof
        least, most = INTEGER_RANGES[proof.dtype]
        assert self.numbers.shape == proof.shape, f"{step}: {self.numbers.shape} {proof.shape}"
        assert (self.numbers >= proof.low).all(), f"{step}: below the interval"
        assert (self.numbers <= proof.high).all(), f"{step}: above the interval"
        assert ((self.numbers >= least) & (self.numbers <= most)).all(), f"{step}: wraps"

    def __add__(self, other: Pair | int) -> Pair:
        return Pair(self.numbers + _numbers(other), self.proof + _proof(other), "add")

    __radd__ = __add__

    def __sub__(self, other: Pair | int) -> Pair:
        return Pair(self.numbers - _numbers(other), self.proof - _proof(other), "sub")

    def __rsub__(self, other: int) -> Pair:
        return Pair(other - self.numbers, other - self.proof, "sub")

    def __mul__(self, other: Pair | int) -> Pair:
        return Pair(self.numbers * _numbers(other), self.proof * _proof(other), "mul")

    __rmul__ = __mul__

    def __ge__(self, other: int) -> Pair:
        return Pair(self.numbers >= _numbers(other), self.proof >= _proof(other), "ge")

    def __le__(self, other: Pair | int) -> Pair:
        return Pair(self.numbers <= _numbers(other), self.proof <= _proof(other), "le")

    def __lt__(self, other: Pair | int) -> Pair:
        return Pair(self.numbers < _numbers(other), self.proof < _proof(other), "lt")


def _numbers(x: Pair | int) -> Any:
    return x.numbers if isinstance(x, Pair) else x


def _proof(x: Pair | int) -> Any:
    return x.proof if isinstance(x, Pair) else x


class LockstepPrimitives(Immediate):
    """Realises ``intformer.arith.Primitives`` on pairs."""

    def __init__(self) -> None:
        self.proofs = IntervalPrimitives({})

    def cast(self, x: Pair, dtype: str) -> Pair:
        return Pair(x.numbers, self.proofs.cast(x.proof, dtype), "cast")

    def pow2(self, s: int) -> int:
        return self.proofs.pow2(s)

    def floor_shift(self, x: Pair, s: int) -> Pair:
        return Pair(x.numbers >> s, self.proofs.floor_shift(x.proof, s), "floor_shift")

    def floor_divide(self, x: Pair, y: Pair | int) -> Pair:
        proof = self.proofs.floor_divide(x.proof, _proof(y))
        return Pair(x.numbers // _numbers(y), proof, "floor_divide")

    def minimum(self, x: Pair, y: Pair | int) -> Pair:
        proof = self.proofs.minimum(x.proof, _proof(y))
        return Pair(np.minimum(x.numbers, _numbers(y)), proof, "minimum")

    def maximum(self, x: Pair, y: Pair | int) -> Pair:
        proof = self.proofs.maximum(x.proof, _proof(y))
        return Pair(np.maximum(x.numbers, _numbers(y)), proof, "maximum")

    def where(self, condition: Pair, x: Pair, y: Pair) -> Pair:
        numbers = np.where(condition.numbers.astype(bool), x.numbers, y.numbers)
        return Pair(numbers, self.proofs.where(condition.proof, x.proof, y.proof), "where")

    def sum(self, x: Pair, axis: int) -> Pair:
        numbers = x.numbers.sum(axis=axis, keepdims=True)
        return Pair(numbers, self.proofs.sum(x.proof, axis), "sum")

    def max(self, x: Pair, axis: int) -> Pair:
        numbers = x.numbers.max(axis=axis, keepdims=True)
        return Pair(numbers, self.proofs.max(x.proof, axis), "max")

    def argmax(self, x: Pair, axis: int) -> Pair:
        return Pair(x.numbers.argmax(axis=axis), self.proofs.argmax(x.proof, axis), "argmax")

    def lookup(self, table: Pair | list[int], index: Pair) -> Pair:
        entries = np.array(table, object) if isinstance(table, list) else table.numbers
        proof = self.proofs.lookup(table if isinstance(table, list) else table.proof, index.proof)
        return Pair(entries[index.numbers.astype(int)], proof, "lookup")

    def rows(self, table: Pair, index: Pair) -> Pair:
        proof = self.proofs.rows(table.proof, index.proof)
        return Pair(table.numbers[index.numbers.astype(int)], proof, "rows")

    def leading_rows(self, table: Pair, like: Pair) -> Pair:
        numbers = table.numbers[None, : like.numbers.shape[1]]
        return Pair(numbers, self.proofs.leading_rows(table.proof, like.proof), "leading_rows")

    def arange(self, like: Pair, axis: int) -> Pair:
        return Pair(
            np.arange(like.numbers.shape[axis]), self.proofs.arange(like.proof, axis), "arange"
        )

    def matmul(self, a: Pair, b: Pair, a_zero: int, b_zero: int) -> Pair:
        proof = self.proofs.matmul(a.proof, b.proof, a_zero, b_zero)
        return Pair(np.matmul(a.numbers - a_zero, b.numbers - b_zero), proof, "matmul")

    def reshape(self, x: Pair, shape: tuple[int, ...]) -> Pair:
        proof = self.proofs.reshape(x.proof, shape)
        return Pair(x.numbers.reshape(proof.shape), proof, "reshape")

    def transpose(self, x: Pair, perm: tuple[int, ...]) -> Pair:
        return Pair(x.numbers.transpose(perm), self.proofs.transpose(x.proof, perm), "transpose")

    def slice(self, x: Pair, axis: int, start: int, stop: int, step: int = 1) -> Pair:
        proof = self.proofs.slice(x.proof, axis, start, stop, step)
        chosen = range(start, stop, step)
        return Pair(np.take(x.numbers, chosen, axis), proof, "slice")

    def concat(self, xs: list[Pair], axis: int) -> Pair:
        proof = self.proofs.concat([x.proof for x in xs], axis)
        return Pair(np.concatenate([x.numbers for x in xs], axis), proof, "concat")

    def repeat_batch(self, x: Pair, like: Pair) -> Pair:
        proof = self.proofs.repeat_batch(x.proof, like.proof)
        return Pair(np.broadcast_to(x.numbers, proof.shape), proof, "repeat_batch")

    def pad(self, x: Pair, axis_pads: dict[int, tuple[int, int]]) -> Pair:
        proof = self.proofs.pad(x.proof, axis_pads)
        widths = [axis_pads.get(axis, (0, 0)) for axis in range(x.numbers.ndim)]
        return Pair(np.pad(x.numbers, widths), proof, "pad")
