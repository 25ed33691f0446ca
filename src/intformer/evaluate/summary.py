"""What a program consists of: operators, bytes by tensor class, ranges."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from intformer.generate.sentence_pieces import MARK
from intformer.ir.graph import INTEGER_RANGES, Array, Graph
from intformer.ir.operators import OPERATORS
from intformer.ir.verify import Proof, verify

PACKED = "packed weights"
"""Tensor class of weights that share a byte with another."""

WEIGHTED = ("linear", "linear16", "depthwise", "embedding")
"""Operators of layers with weights."""

CLASSES = {
    "weight": "weights",
    "packed": PACKED,
    "rows": "embeddings",
    "bias": "biases",
    "table": "positions",
    "entries": "function tables",
    "multiplier": "requantization",
    "a_multiplier": "requantization",
    "b_multiplier": "requantization",
    "offset": "requantization",
    "source": "requantization",
    "rest": "requantization",
    "values": "biases",
    "coarse": "sines and cosines",
    "fine": "sines and cosines",
    "residue": "sines and cosines",
    "gain": "normalisation",
}
"""Operand of an operator -> tensor class of a constant that stands there."""

OTHER = "other constants"

Range = tuple[int, int]


@dataclass(frozen=True)
class Summary:
    """Facts about a program.

    Attributes:
        inputs, outputs: name -> type as text.
        operators: operator -> how often.
        layers: number of layers with weights: linear ones, convolutions, embeddings.
        parameters: number of weight and embedding elements.
        bytes_by_class: tensor class -> bytes of constants, largest first.
        elements_by_class: tensor class -> elements.
        accumulator_bits: bits of the widest value, sign included.
        widest: the values with the largest proved magnitude: (name, dtype, range).
        recipe, provenance, task: as stored in the program.
        tokenizer: what kind of tokenizer the program carries, None without one.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    operators: dict[str, int]
    layers: int
    parameters: int
    bytes_by_class: dict[str, int]
    elements_by_class: dict[str, int]
    accumulator_bits: int
    widest: list[tuple[str, str, Range]]
    recipe: Any
    provenance: Any
    task: Any
    tokenizer: str | None

    def to_json(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        result = dict(self.__dict__)
        result["widest"] = [
            {"value": name, "dtype": dtype, "range": list(bounds)}
            for name, dtype, bounds in self.widest
        ]
        return result


def summarize(graph: Graph, proof: Proof | None = None) -> Summary:
    """Summarise a program; it is verified if no ``proof`` is given."""
    proof = proof or verify(graph)
    classes = constant_classes(graph)
    elements = _total(classes, {name: array.size for name, array in graph.constants.items()})
    return Summary(
        inputs={name: str(kind) for name, kind in graph.inputs.items()},
        outputs={name: str(graph.types[value]) for name, value in graph.outputs.items()},
        operators=dict(Counter(node.op for node in graph).most_common()),
        layers=len({node.name for node in graph if node.op in WEIGHTED}),
        parameters=elements.get("weights", 0) + elements.get("embeddings", 0),
        bytes_by_class=_total(classes, {n: a.nbytes for n, a in graph.constants.items()}),
        elements_by_class=elements,
        accumulator_bits=proof.accumulator_bits,
        widest=widest(graph, proof),
        recipe=_json(graph.metadata.get("recipe")),
        provenance=_origin(graph),
        task=_json(graph.metadata.get("task")),
        tokenizer=_tokenizer(graph.metadata.get("tokenizer")),
    )


def _origin(graph: Graph) -> Any:
    """Where the program comes from: what capture has seen, and the SOURCE of the command line."""
    seen, source = (_json(graph.metadata.get(key)) for key in ("provenance", "origin"))
    if not isinstance(source, dict):
        return seen
    stated = {key: value for key, value in source.items() if value is not None}
    return {**stated, **seen} if isinstance(seen, dict) else stated


def _tokenizer(stored: str | None) -> str | None:
    """In words, without unpacking it."""
    if not stored:
        return None
    if stored.startswith(MARK):
        return "SentencePiece, one model for sources and one for targets"
    return "tokenizer.json"


def constant_classes(graph: Graph) -> dict[str, str]:
    """Constant -> tensor class, from the operand it is used as."""
    found: dict[str, str] = {}
    for node in graph:
        operands = OPERATORS[node.op].operands
        for position, name in enumerate(node.inputs):
            operand = operands[min(position, len(operands) - 1)]
            if name in graph.constants:
                found.setdefault(name, CLASSES.get(operand.name, OTHER))
    return found


def float_bytes(summary: Summary) -> int:
    """Bytes of the model's own parameters in float32: what requantization adds is not counted."""
    own = ("weights", "embeddings", "biases", "positions")
    count = summary.elements_by_class.get
    return 4 * (sum(count(kind, 0) for kind in own) + 2 * count(PACKED, 0))


def widest(graph: Graph, proof: Proof, count: int = 10) -> list[tuple[str, str, Range]]:
    """Node outputs that come closest to the ends of their int32 or int64 dtype."""
    found = [
        (_filled(graph.types[node.output].dtype, proof.ranges[node.output]), node.output)
        for node in graph
        if graph.types[node.output].dtype in ("int32", "int64")
    ]
    found.sort(reverse=True)
    return [(name, graph.types[name].dtype, proof.ranges[name]) for _, name in found[:count]]


def observed_ranges(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Range]:
    """Value -> (lowest, highest) that really occurs on ``inputs``, by the reference interpreter."""
    from intformer.reference import interpret

    ranges: dict[str, Range] = {}

    def observe(name: str, value: Any) -> None:
        array = np.asarray(value)
        ranges[name] = int(array.min()), int(array.max())

    interpret(graph, inputs, observer=observe)
    return ranges


def bits(bounds: Range) -> int:
    """Bits that hold the range, sign included if it is negative somewhere."""
    low, high = bounds
    if low >= 0:
        return max(high.bit_length(), 1)
    return max((-low - 1).bit_length(), high.bit_length()) + 1


def exact_bits(bounds: Range) -> float:
    """As ``bits``, without rounding up: log2 of the number of values the range has around 0."""
    return math.log2(2 * max(abs(bounds[0]), abs(bounds[1]), 1))


def _filled(dtype: str, bounds: Range) -> float:
    low, high = INTEGER_RANGES[dtype]
    return max(bounds[0] / low, bounds[1] / high)


def _total(classes: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for name, size in sizes.items():
        totals[classes.get(name, OTHER)] += int(size)
    return dict(totals.most_common())


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except json.JSONDecodeError:
        return text
