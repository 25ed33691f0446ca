"""Calibration samples: raw integer inputs, as a program takes them, made into float inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from intformer.errors import InputError
from intformer.ir.float_ops import ATTENTIONS
from intformer.ir.graph import Graph, TensorType
from intformer.ir.inputs import check_inputs
from intformer.quantize.lowering.context import Pixels

Sample = Mapping[str, Any]


class Batches(Sequence[dict[str, Tensor]]):
    """Raw batches, kept as integers and turned into float inputs one at a time."""

    def __init__(
        self, graph: Graph, samples: Iterable[Sample | Any], pixels: Pixels | None
    ) -> None:
        self.graph, self.pixels = graph, pixels
        self.raw = [_named(graph, sample) for sample in samples]
        if not self.raw:
            raise InputError(
                "calibration data is empty: give at least one batch (32 to 512 samples)"
            )

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: Any) -> Any:
        return float_inputs(self.graph, self.raw[index], self.pixels)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (float_inputs(self.graph, batch, self.pixels) for batch in self.raw)


def _named(graph: Graph, sample: Sample | Any) -> dict[str, Any]:
    """A sample may be a dictionary, or a bare array for a graph with one input."""
    if not isinstance(sample, Mapping):
        if len(graph.inputs) != 1:
            raise InputError(f"calibration batches must be dictionaries with {list(graph.inputs)}")
        sample = {next(iter(graph.inputs)): sample}
    if set(sample) != set(graph.inputs):
        raise InputError(
            f"a calibration batch has {sorted(sample)}, the model takes {list(graph.inputs)}"
        )
    named = {name: np.asarray(value) for name, value in sample.items()}
    contract = _token_contract(graph)
    check_inputs(contract, {name: named[name] for name in contract.inputs})
    return named


def _token_contract(graph: Graph) -> Graph:
    """The integer inputs alone, with the values that they may have."""
    contract = Graph("integer", limits=graph.limits)
    for name, kind in graph.inputs.items():
        if kind.dtype != "float32":
            contract.inputs[name] = TensorType("int64", kind.shape)
            contract.input_ranges[name] = (0, _largest(graph, name))
    return contract


def _largest(graph: Graph, name: str) -> int:
    """The largest id of a vocabulary, or 1 for a mask."""
    if any(node.op in ATTENTIONS and name in node.inputs[3:] for node in graph):
        return 1
    tables = [n.inputs[0] for n in graph if n.op == "embedding" and n.inputs[1] == name]
    return min((len(graph.constants[table]) for table in tables), default=2**31) - 1


def float_inputs(graph: Graph, raw: Sample, pixels: Pixels | None) -> dict[str, Tensor]:
    """What the float graph takes for raw integer inputs: normalised NCHW images, ids as they are.

    Raises:
        InputError: an image batch is not uint8 channels-last of the right size.
    """
    result = {}
    for name, kind in graph.inputs.items():
        array = np.asarray(raw[name])
        if kind.dtype == "float32":
            result[name] = _normalised(name, array, kind.shape, pixels)
        else:
            result[name] = torch.from_numpy(array.astype(np.int64))
    return result


def _normalised(
    name: str, array: np.ndarray, shape: tuple[int | str, ...], pixels: Pixels | None
) -> Tensor:
    wanted = (shape[2], shape[3], shape[1])
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != wanted:
        raise InputError(
            f"'{name}' takes raw uint8 pixels (N, {', '.join(map(str, wanted))}), "
            f"got {array.dtype} {array.shape}"
        )
    if not array.size:
        raise InputError(f"a batch of '{name}' is empty: it has no images")
    assert pixels is not None
    image = (array.astype(np.float64) - pixels.zero) * pixels.factor
    return torch.from_numpy(image.astype(np.float32).transpose(0, 3, 1, 2).copy())
