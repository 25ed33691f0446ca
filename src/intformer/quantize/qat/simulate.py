"""Exact integers of chosen values, on any device: native kernels on the CPU, torch elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from intformer.arith import Primitives
from intformer.ir.graph import Array, Graph
from intformer.ir.inputs import check_inputs
from intformer.quantize.torch_primitives import TorchPrimitives, tensor
from intformer.reference import execute
from intformer.runtime.session import Session, has_native


def integers(
    graph: Graph, inputs: Mapping[str, Array], wanted: Iterable[str], device: torch.device
) -> dict[str, Tensor]:
    """Value name -> integers, for the values ``wanted`` of an integer graph.

    All backends give the same numbers. On the CPU the program's own kernels compute them, faster
    than the float model; on other devices torch runs the text of the arithmetic.

    Raises:
        InputError: the inputs do not fit the graph.
    """
    graph = copy.copy(graph)
    graph.outputs = {name: name for name in dict.fromkeys(wanted)}
    if device.type == "cpu" and has_native():
        outputs = Session(graph, threads=torch.get_num_threads()).run(inputs)
        return {name: torch.from_numpy(array) for name, array in outputs.items()}
    values: dict[str, Any] = {
        name: tensor(np.asarray(array), device)
        for name, array in {**graph.constants, **check_inputs(graph, inputs)}.items()
    }
    with torch.no_grad():
        return execute(graph, cast(Primitives, TorchPrimitives()), values)
