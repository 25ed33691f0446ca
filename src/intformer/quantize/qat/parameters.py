"""Constants of a float graph as parameters of a module, under their original names."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intformer.ir.float_ops import WEIGHTED
from intformer.ir.graph import Graph, Node
from intformer.quantize.params import IntegerWeight


def with_biases(graph: Graph) -> Graph:
    """A copy in which every layer has a bias, so that a corrected one has a place."""
    graph = copy.deepcopy(graph)
    for node in graph:
        if node.op in WEIGHTED and len(node.inputs) == 2:
            zeros = np.zeros(graph.constants[node.inputs[1]].shape[0], np.float32)
            node.inputs = (*node.inputs, graph.add_constant(f"{node.inputs[1]}.bias", zeros))
    return graph


def register(module: nn.Module, path: str, parameter: nn.Parameter) -> str:
    """Add a parameter under its dotted path and return it.

    Where a folder of the path is a parameter already (``fc.weight`` and ``fc.weight.bias``), the
    rest of the path becomes one name.
    """
    *folders, leaf = path.split(".")
    place = []
    for index, folder in enumerate(folders):
        if isinstance(getattr(module, folder, None), nn.Parameter):
            leaf = "_".join([*folders[index:], leaf])
            break
        if folder not in module._modules:
            module.add_module(folder, nn.Module())
        module = module.get_submodule(folder)
        place.append(folder)
    module.register_parameter(leaf, parameter)
    return ".".join([*place, leaf])


@torch.no_grad()
def adopt(
    node: Node,
    weight: IntegerWeight,
    factor: NDArray[np.float64] | None,
    parameter: nn.Parameter,
    bias: nn.Parameter,
) -> None:
    """Give a layer's parameters the values that its integer weights stand for.

    ``factor`` is the model input per pixel step of a convolution that reads raw pixels.
    """
    real = torch.from_numpy(weight.values.T.astype(np.float64) * weight.scale[:, None])
    if node.op == "conv2d":
        out, channels, *kernel = parameter.shape
        real = real.reshape(out, *kernel, channels).permute(0, 3, 1, 2)
        if factor is not None:
            real = real / torch.from_numpy(factor)[:, None, None]
    parameter.copy_(real.reshape(parameter.shape))
    bias.copy_(torch.from_numpy(weight.bias))
