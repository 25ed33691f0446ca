"""The trainable twin of a program: an ``nn.Module`` whose forward gives the program's integers.

``prepare`` calibrates a model and returns the twin, any training loop trains it, ``convert`` lowers
it. The forward pass lowers the current parameters and runs the integer graph with torch; next to it
the float operators run on the de-quantized values, and gradients pass straight through the rounding
(Bengio et al., arXiv 1308.3432) except where a value was clipped.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intformer.ir.graph import Graph, Node
from intformer.ir.verify import verify
from intformer.program import Program
from intformer.quantize.algorithms.gptq import nearest
from intformer.quantize.api import calibrated, record
from intformer.quantize.decide import layer_bias, unfolded_weight
from intformer.quantize.float_run import bind_sizes, evaluate
from intformer.quantize.lowering import Lowered, lower
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.params import Affine, Decisions, IntegerWeight
from intformer.quantize.recipe import Recipe, load_recipe
from intformer.quantize.samples import float_inputs
from intformer.quantize.torch_primitives import TorchPrimitives, tensor
from intformer.reference import execute


class Twin(nn.Module):
    """Trainable simulation of one integer program.

    Its parameters are the float graph's constants under their original names (merged or folded ones
    under the names the graph gives them); scales are fixed at preparation.
    """

    def __init__(
        self, graph: Graph, decisions: Decisions, pixels: Pixels | None, recipe: Recipe
    ) -> None:
        super().__init__()
        self.float_graph, self.decisions = graph, decisions
        self.pixels, self.recipe = pixels, recipe
        self.top = {
            node.output: 2 ** (recipe.for_layer(node.name, "weight_bits") - 1) - 1
            for node in graph
            if node.op in ("linear", "conv2d")
        }
        self.lanes = {
            output: recipe.for_layer(node.name, "weight_groups")
            for output, node in graph.producers().items()
            if output in self.top
        }
        self.names = [k for k, v in graph.constants.items() if v.dtype == np.float32]
        self.paths = {
            name: _register(
                self, name, nn.Parameter(torch.from_numpy(graph.constants[name].copy()))
            )
            for name in self.names
        }
        self._adopt_rounded_weights()
        self._known: Graph | None = None

    def forward(self, **inputs: Any) -> dict[str, Tensor]:
        """De-quantized outputs by name, differentiable; inputs are raw integers as a program's.

        ``output / scale`` is exactly the program's integer.
        """
        lowered = self.lowered()
        integers = self._integers(lowered, inputs)
        values: dict[str, Tensor] = dict(
            float_inputs(
                self.float_graph, {k: np.asarray(v) for k, v in inputs.items()}, self.pixels
            )
        )
        sizes = bind_sizes(self.float_graph, values)
        for name, array in self.float_graph.constants.items():
            values[name] = torch.from_numpy(array)
        values.update({name: self.parameter_of(name) for name in self.names})
        for node in self.float_graph:
            operands = [values[name] for name in node.inputs]
            if node.op in ("linear", "conv2d"):
                operands[1] = self._rounded(node, operands[1])
            result = evaluate(node, operands, sizes)
            values[node.output] = _straight_through(lowered, integers, node.output, result)
        return {public: values[name] for public, name in self.float_graph.outputs.items()}

    def parameter_of(self, constant: str) -> nn.Parameter:
        """The parameter that stands for a constant of the float graph."""
        return self.get_parameter(self.paths[constant])

    def integers(self, **inputs: Any) -> dict[str, np.ndarray]:
        """The program's integer outputs, computed by torch."""
        lowered = self.lowered()
        found = self._integers(lowered, inputs)
        return {public: found[name].numpy() for public, name in lowered.graph.outputs.items()}

    def lowered(self) -> Lowered:
        """The integer graph of the current parameters."""
        graph = self._current_graph()
        weights = {
            node.output: self._integer_weight(graph, node)
            for node in graph
            if node.op in ("linear", "conv2d")
        }
        decisions = dataclasses.replace(self.decisions, weights=weights)
        lowered = lower(graph, decisions, pixels=self.pixels, known=self._known)
        self._known = lowered.graph if self._known is None else self._known
        return lowered

    def program(self) -> Program:
        """The verified program of the current parameters."""
        self._known = None
        lowered = self.lowered()
        record(lowered, self.recipe, self.float_graph)
        verify(lowered.graph)
        return Program(lowered.graph)

    def _integers(self, lowered: Lowered, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """Every integer value of one run."""
        graph = lowered.graph
        values: dict[str, Any] = {k: tensor(v) for k, v in graph.constants.items()}
        for name, kind in graph.inputs.items():
            values[name] = torch.as_tensor(np.asarray(inputs[name]).astype(kind.dtype))
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            execute(graph, TorchPrimitives(), values, found.__setitem__)
        return found

    def _current_graph(self) -> Graph:
        graph = copy.copy(self.float_graph)
        trained = {k: self.parameter_of(k).detach().numpy() for k in self.names}
        graph.constants = {**self.float_graph.constants, **trained}
        return graph

    def _integer_weight(self, graph: Graph, node: Node) -> IntegerWeight:
        scale = torch.from_numpy(self.decisions.weights[node.output].scale)
        weight = unfolded_weight(graph, node, self.pixels)
        rounded = nearest(weight / scale[:, None], self.top[node.output], self.lanes[node.output])
        values = rounded.T.to(torch.int8)
        bias = layer_bias(graph, node).numpy()
        return IntegerWeight(np.ascontiguousarray(values.numpy()), scale.numpy(), bias)

    def _rounded(self, node: Node, weight: Tensor) -> Tensor:
        """The weight as its integers stand for, with a straight-through gradient."""
        scale = torch.from_numpy(self.decisions.weights[node.output].scale).to(weight.dtype)
        scale = scale.reshape(-1, *[1] * (weight.dim() - 1))
        if node.op == "conv2d" and node.inputs[0] in self.float_graph.inputs and self.pixels:
            factor = torch.from_numpy(self.pixels.factor).to(weight.dtype)
            scale = scale / factor[:, None, None]
        top, lanes = self.top[node.output], self.lanes[node.output]
        clipped = torch.minimum(torch.maximum(weight, -top * scale), top * scale)
        rows = (clipped / scale).detach().movedim(1, -1)
        rounded = nearest(rows.reshape(len(rows), -1), top, lanes).reshape(rows.shape)
        return clipped + (rounded.movedim(-1, 1) * scale - clipped).detach()

    def _adopt_rounded_weights(self) -> None:
        """Start from the calibrated program: parameters take the rounded weights and biases."""
        for node in self.float_graph:
            weight = self.decisions.weights.get(node.output)
            if weight is not None:
                _adopt(self, self.float_graph, node, weight, self.pixels)


def prepare(
    model: Any,
    calibration: Iterable[Any],
    recipe: str | Path | dict[str, Any] | Recipe = "intformer",
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Twin:
    """Calibrate ``model`` as ``quantize`` does and return its trainable twin.

    Arguments and errors are those of ``intformer.quantize``.
    """
    found = calibrated(model, calibration, load_recipe(recipe), mean=mean, std=std)
    return Twin(_with_biases(found.graph), found.decisions, found.pixels, found.recipe)


def convert(twin: Twin) -> Program:
    """The integer program of a (trained) twin: exactly what its forward pass computed."""
    return twin.program()


def _with_biases(graph: Graph) -> Graph:
    """Give every layer a bias, so that a corrected one has a place."""
    graph = copy.deepcopy(graph)
    for node in graph:
        if node.op in ("linear", "conv2d") and len(node.inputs) == 2:
            zeros = np.zeros(graph.constants[node.inputs[1]].shape[0], np.float32)
            node.inputs = (*node.inputs, graph.add_constant(f"{node.inputs[1]}.bias", zeros))
    return graph


def _register(module: nn.Module, path: str, parameter: nn.Parameter) -> str:
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
        if not hasattr(module, folder):
            module.add_module(folder, nn.Module())
        module = getattr(module, folder)
        place.append(folder)
    module.register_parameter(leaf, parameter)
    return ".".join([*place, leaf])


def _adopt(
    twin: Twin, graph: Graph, node: Node, weight: IntegerWeight, pixels: Pixels | None
) -> None:
    parameter, bias = twin.parameter_of(node.inputs[1]), twin.parameter_of(node.inputs[2])
    real = torch.from_numpy(weight.values.T.astype(np.float64) * weight.scale[:, None])
    if node.op == "conv2d":
        out, channels, *kernel = parameter.shape
        real = real.reshape(out, *kernel, channels).permute(0, 3, 1, 2)
        if node.inputs[0] in graph.inputs and pixels is not None:
            real = real / torch.from_numpy(pixels.factor)[:, None, None]
    with torch.no_grad():
        parameter.copy_(real)
        bias.copy_(torch.from_numpy(weight.bias))


def _straight_through(
    lowered: Lowered, integers: dict[str, Tensor], name: str, result: Tensor
) -> Tensor:
    """The de-quantized integer value, with the gradient of ``result`` where it was not clipped."""
    if name not in lowered.meaning:
        return result
    value, affine = lowered.meaning[name]
    if value not in integers:
        return result
    exact = _real(integers[value], affine, result.dtype)
    if name in lowered.channels_last:
        exact = exact.permute(0, 3, 1, 2)
    low, high = (affine.scale * (bound - affine.zero_point) for bound in affine.limits)
    clipped = result.clamp(low, high)
    return clipped + (exact.reshape(result.shape) - clipped).detach()


def _real(integers: Tensor, affine: Affine, dtype: torch.dtype) -> Tensor:
    return ((integers.double() - affine.zero_point) * affine.scale).to(dtype)
