"""The golden run: one reproducible input and the hash of what the reference makes of it.

Inputs come from SplitMix64 (Steele et al., OOPSLA 2014), a generator of four lines in any language.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from intformer.artifact.schema import KEY_GOLDEN
from intformer.errors import VerifyError
from intformer.ir.graph import INTEGER_RANGES, Array, Graph, TensorType
from intformer.reference import interpret

SEED = 1
SYMBOL_SIZE = 8
"""Symbols other than a batch take this size, or their limit if that is smaller."""

MAX_ELEMENTS = 2**28
"""Most numbers in one tensor of a golden run."""

Runner = Callable[[Graph, Mapping[str, Array]], Mapping[str, Array]]


def golden_inputs(graph: Graph, sizes: Mapping[str, int], seed: int = SEED) -> dict[str, Array]:
    """Inputs of ``graph`` for the given sizes of its symbols.

    Element i of an input is ``low + splitmix64(seed, crc32(name), i) % (high - low + 1)``.
    """
    return {
        name: _random(graph.input_ranges.get(name), kind, sizes, seed + zlib.crc32(name.encode()))
        for name, kind in graph.inputs.items()
    }


def _random(
    bounds: tuple[int, int] | None, kind: TensorType, sizes: Mapping[str, int], seed: int
) -> Array:
    shape = tuple(d if isinstance(d, int) else sizes[d] for d in kind.shape)
    low, high = bounds or INTEGER_RANGES[kind.dtype]
    bits = splitmix64(seed, int(np.prod(shape, dtype=np.int64)))
    span = high - low + 1
    offsets = bits if span == 2**64 else bits % np.uint64(span)
    return (offsets + np.uint64(low % 2**64)).view(np.int64).reshape(shape).astype(kind.dtype)


def splitmix64(seed: int, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The first ``count`` numbers of the generator started at ``seed``, as uint64."""
    x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def golden_sizes(graph: Graph) -> dict[str, int]:
    """Sizes of the symbols: 1 for a batch, ``SYMBOL_SIZE`` or the limit otherwise."""
    sizes: dict[str, int] = {}
    for kind in graph.inputs.values():
        for axis, dim in enumerate(kind.shape):
            if isinstance(dim, str):
                size = 1 if axis == 0 else min(SYMBOL_SIZE, graph.limits.get(dim, SYMBOL_SIZE))
                sizes[dim] = max(size, sizes.get(dim, 1))
    return sizes


def digest(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over name, dtype, shape and little-endian content of each array in order."""
    total = hashlib.sha256()
    for name, array in arrays.items():
        total.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        total.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def make_golden(graph: Graph) -> str:
    """The golden record of a verified graph, as JSON, from a run of the reference."""
    sizes = golden_sizes(graph)
    _check_size(graph, sizes)
    inputs = golden_inputs(graph, sizes)
    outputs = digest(interpret(graph, inputs))
    record = {"seed": SEED, "sizes": sizes, "inputs": digest(inputs), "outputs": outputs}
    return json.dumps(record)


def check_golden(graph: Graph, run: Runner = interpret) -> None:
    """Repeat the golden run recorded in ``graph.metadata`` and compare.

    Args:
        graph: a loaded graph.
        run: what computes the outputs; the reference by default, any backend that is to be checked.

    Raises:
        VerifyError: there is no record, or inputs or outputs differ from it.
    """
    seed, sizes, wanted_inputs, wanted_outputs = _record(graph)
    _check_size(graph, sizes)
    inputs = golden_inputs(graph, sizes, seed)
    if digest(inputs) != wanted_inputs:
        raise VerifyError(
            "golden run: the recorded input hash belongs to another input; save again"
        )
    found = digest(dict(run(graph, inputs)))
    if found != wanted_outputs:
        raise VerifyError(
            f"golden run: the outputs hash to {found[:12]}, recorded is {wanted_outputs[:12]}: "
            "the program was changed after it was saved, or this backend computes something else"
        )


def _check_size(graph: Graph, sizes: Mapping[str, int]) -> None:
    """Refuse runs that no real program needs: opening a file must not exhaust the memory."""

    def count(name: str) -> int:
        return math.prod(d if isinstance(d, int) else sizes[d] for d in graph.types[name].shape)

    largest = max(count(name) for name in (*graph.inputs, *(node.output for node in graph)))
    for node in graph:
        if node.op.endswith("attention"):
            width, keys = (
                graph.types[node.inputs[0]].shape[-1],
                graph.types[node.inputs[1]].shape[-2],
            )
            heads = node.attrs["heads"]
            assert isinstance(width, int) and isinstance(heads, int)
            keys = keys if isinstance(keys, int) else sizes[keys]
            largest = max(largest, count(node.inputs[0]) // width * heads * keys)
    if largest > MAX_ELEMENTS:
        raise VerifyError(
            f"golden run: a tensor of {largest} numbers, at most {MAX_ELEMENTS} are allowed"
        )


def _record(graph: Graph) -> tuple[int, dict[str, int], str, str]:
    """Seed, sizes and hashes of the record, checked like anything that comes from a file."""
    text = graph.metadata.get(KEY_GOLDEN)
    if text is None:
        raise VerifyError(f"golden run: there is no '{KEY_GOLDEN}' entry; save the program again")
    try:
        record = json.loads(text)
        seed, sizes = record["seed"], record["sizes"]
        hashes = str(record["inputs"]), str(record["outputs"])
        sound = sizes == golden_sizes(graph) and type(seed) is int and 0 <= seed < 2**32
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise VerifyError(f"golden run: the '{KEY_GOLDEN}' entry is malformed: {text[:80]!r}")
    return seed, sizes, *hashes
