"""Einsum: any sum of products of two values, as one product of matrices."""

from __future__ import annotations

from collections.abc import Sequence

from intformer.errors import CaptureError
from intformer.frontend.aten import Writer, maps
from intformer.frontend.shapes import product
from intformer.ir.graph import Dim


@maps("einsum")
def _einsum(w: Writer, equation: str, tensors: Sequence[str], path: object = None) -> str:
    left, _, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    plain = out and "." not in equation and all(len(set(t)) == len(t) for t in (*terms, out))
    if len(terms) != 2 or not plain or not set(terms[0]) ^ set(terms[1]) <= set(out):
        raise CaptureError(
            f"{w.path}: einsum {equation!r}; two values, each letter once in each, are supported"
        )
    return _contracted(w, terms, tensors, out)


def _contracted(w: Writer, terms: Sequence[str], values: Sequence[str], out: str) -> str:
    """Letters in both and in the result lead, those in both alone are summed over.

    A symbol of one side alone leads there too, and the other side has an axis of 1 instead.
    """
    sizes: dict[str, Dim] = {}
    for term, value in zip(terms, values, strict=True):
        sizes |= dict(zip(term, w.shape(value), strict=True))
    free = [x for x in out if isinstance(sizes[x], str)]
    if free and free[0] in terms[1] and free[0] not in terms[0]:
        terms, values = terms[::-1], values[::-1]
    a, b = terms
    lead = [x for x in free if x not in b]
    both = sorted((x for x in out if x in a and x in b), key=lambda x: x not in free)
    summed = [x for x in a if x in b and x not in out]
    rows = [x for x in a if x not in b and x not in lead]
    columns = [x for x in b if x not in a]
    shape = (*(sizes[x] for x in lead), *(sizes[x] for x in both))
    m, k, n = (product(tuple(sizes[x] for x in part)) for part in (rows, summed, columns))
    left = _ordered(w, values[0], a, [*lead, *both, *rows, *summed])
    right = _ordered(w, values[1], b, [*both, *summed, *columns])
    result = w.emit(
        "matmul",
        w.reshape(left, (*shape, m, k)),
        w.reshape(right, (*(1 for _ in lead), *shape[len(lead) :], k, n)),
    )
    letters = [*lead, *both, *rows, *columns]
    return _ordered(w, w.reshape(result, tuple(sizes[x] for x in letters)), letters, out)


def _ordered(w: Writer, value: str, letters: Sequence[str], wanted: Sequence[str]) -> str:
    return w.transpose(value, tuple(list(letters).index(x) for x in wanted))
