"""What a program's integer outputs mean to a person: labels, class names, scales."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from intformer.errors import InputError
from intformer.ir.graph import Graph

Array = NDArray[Any]

CLASSES_KEY = "classes"
"""Under this key a program may keep its class names (a JSON list)."""

CIFAR10 = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


class Runnable(Protocol):
    """The part of ``intformer.Program`` that evaluation needs."""

    @property
    def graph(self) -> Graph: ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


def logits_name(outputs: Mapping[str, Any]) -> str:
    """The output that holds class scores: ``logits`` if there is one, else the only one.

    Raises:
        InputError: there are several and none has that name.
    """
    if "logits" in outputs:
        return "logits"
    if len(outputs) == 1:
        return next(iter(outputs))
    raise InputError(f"no output 'logits' among {', '.join(outputs)}: this is no classifier")


def class_count(graph: Graph) -> int:
    """Number of classes of a classifier.

    Raises:
        InputError: the program's output is not [N, classes].
    """
    name = logits_name(graph.outputs)
    shape = graph.types[graph.outputs[name]].shape
    if len(shape) != 2 or not isinstance(shape[1], int):
        raise InputError(f"output '{name}' has shape {shape}: this program is no classifier")
    return shape[1]


def is_classifier(graph: Graph) -> bool:
    """Whether the program scores classes."""
    try:
        return class_count(graph) > 1
    except InputError:
        return False


def class_names(graph: Graph) -> list[str]:
    """Names from the program's metadata, or the class numbers."""
    count = class_count(graph)
    try:
        names = json.loads(graph.metadata.get(CLASSES_KEY, "[]"))
    except json.JSONDecodeError:
        names = []
    if isinstance(names, list) and len(names) == count:
        return [str(name) for name in names]
    return [str(label) for label in range(count)]


def dequantize(graph: Graph, name: str, integers: Array) -> NDArray[np.float64]:
    """An output as real numbers, by the scale in the program's metadata (1 if absent)."""
    try:
        stored = json.loads(graph.metadata.get("scales", "{}")).get(name, 1.0)
    except (json.JSONDecodeError, AttributeError):
        stored = 1.0
    scale, zero = stored, 0
    if isinstance(stored, dict):
        scale, zero = stored.get("scale", 1.0), stored.get("zero_point", 0)
    centred = integers.astype(np.float64) - np.asarray(zero, dtype=np.float64)
    return np.asarray(centred * np.asarray(scale, dtype=np.float64))
