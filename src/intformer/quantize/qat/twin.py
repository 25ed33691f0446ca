"""The trainable twin of a program: an ``nn.Module`` whose forward gives the program's integers.

``prepare`` calibrates a model and returns the twin, any training loop trains it, ``convert`` lowers
it. The forward pass lowers the current parameters and runs the integer program; next to it the
float operators run on the de-quantized values, so that autograd has their derivatives.
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

from intformer.ir.float_ops import WEIGHTED
from intformer.ir.graph import Array, Graph, Node
from intformer.program import Program
from intformer.quantize.api import calibrated
from intformer.quantize.decide import Progress
from intformer.quantize.finish import finish
from intformer.quantize.float_run import bind_sizes, evaluate
from intformer.quantize.groups import SHAPE_ONLY
from intformer.quantize.lowering import Lowered, lower
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.params import Affine, Decisions, IntegerWeight
from intformer.quantize.qat.parameters import adopt, register, with_biases
from intformer.quantize.qat.ranges import RangeObserver, learnable
from intformer.quantize.qat.scales import ActivationScale, Range, WeightScale
from intformer.quantize.qat.simulate import integers
from intformer.quantize.qat.straight import replaced, replaced_learning
from intformer.quantize.recipe import Recipe, load_recipe
from intformer.quantize.samples import float_inputs

STATE = "quantization"
"""The submodule that holds all scales."""


class Twin(nn.Module):
    """Trainable simulation of one integer program.

    Its parameters are the float graph's constants under their original names (merged or folded ones
    under the names the graph gives them). All scales are in the submodule ``quantization``, so that
    ``state_dict`` holds everything the program depends on.

    Attributes:
        recipe: what it was prepared with.
        observing: whether batches move the ranges of activations while the module is in training
            mode; ``freeze`` stops it. As prepared, the twin is in evaluation mode.
        momentum: share of the old range that a batch leaves.
    """

    def __init__(
        self,
        graph: Graph,
        decisions: Decisions,
        pixels: Pixels | None,
        recipe: Recipe,
        typical: Mapping[str, Range],
        *,
        learn_scales: bool = False,
    ) -> None:
        super().__init__()
        self.recipe, self.learn_scales = recipe, learn_scales
        self.observing, self.momentum = not learn_scales, 0.99
        self._graph, self._decisions, self._pixels = graph, decisions, pixels
        self._typical = dict(typical)
        self._known: Graph | None = None
        self._register_constants()
        self._register_scales()
        self._ranges = RangeObserver(graph, decisions)
        if learn_scales:
            self._fix_hidden_scales()

    # -- use ---------------------------------------------------------------------------------------

    def forward(self, *arrays: Any, **inputs: Any) -> dict[str, Tensor]:
        """De-quantized outputs by name, differentiable; inputs are raw integers as a program's.

        ``output / scale`` is exactly the program's integer. Without gradients only the integer
        program runs.

        Args:
            arrays: the inputs in the program's order, or
            inputs: the inputs by name; NumPy arrays or tensors (uint8 pixels [N, H, W, 3], ids).

        Raises:
            InputError: inputs do not fit the program.
        """
        raw = self._raw(arrays, inputs)
        codes = self._codes()
        lowered = self._lowered(codes)
        if not torch.is_grad_enabled():
            return self._outputs(lowered, raw)
        return self._differentiable(lowered, codes, raw)

    def freeze(self) -> None:
        """Keep the ranges of activations as they are from now on."""
        self.observing = False

    def parameter_of(self, constant: str) -> nn.Parameter:
        """The parameter that stands for a constant of the float graph."""
        return self.get_parameter(self._paths[constant])

    def integers(self, **inputs: Any) -> dict[str, Array]:
        """The program's integer outputs, without the label."""
        lowered = self._lowered(self._codes())
        wanted = {public: lowered.graph.outputs[public] for public in self._graph.outputs}
        raw = self._raw((), inputs)
        found = integers(lowered.graph, raw, wanted.values(), self._device)
        return {public: found[name].cpu().numpy() for public, name in wanted.items()}

    def program(self) -> Program:
        """The verified program of the current parameters."""
        self._known = None
        lowered = self._lowered(self._codes())
        self._known = None  # finishing gives its values other names
        return Program(finish(lowered, self.recipe, self._graph, self._decisions).graph)

    def parts(self) -> dict[str, Any]:
        """The arguments that make a twin of the same structure."""
        return {
            "graph": self._graph,
            "decisions": self._decisions,
            "pixels": self._pixels,
            "recipe": self.recipe,
            "typical": self._typical,
            "learn_scales": self.learn_scales,
        }

    def scale_parameters(self) -> list[nn.Parameter]:
        """The learned scales; empty unless prepared with ``learn_scales``."""
        return list(self.get_submodule(STATE).parameters())

    # -- construction ------------------------------------------------------------------------------

    def _register_constants(self) -> None:
        """Parameters start as the calibrated program's: rounded weights and corrected biases."""
        self._paths: dict[str, str] = {}
        read = {name for node in self._graph for name in node.inputs}
        for name, value in self._graph.constants.items():
            if value.dtype == np.float32 and name in read:
                parameter = nn.Parameter(torch.from_numpy(value.copy()))
                self._paths[name] = register(self, name, parameter)
        for node in self._layers():
            weight = self._decisions.weights[node.output]
            parameters = self.parameter_of(node.inputs[1]), self.parameter_of(node.inputs[2])
            adopt(node, weight, self._factor(node), *parameters)

    def _register_scales(self) -> None:
        holder = nn.Module()
        self.add_module(STATE, holder)
        shown = learnable(self._graph, self._decisions)
        self._narrow: dict[str, str] = {}
        self._wide: dict[str, str] = {}
        for table, keys, suffix in (
            (self._decisions.activations, self._narrow, "narrow"),
            (self._decisions.streams, self._wide, "wide"),
        ):
            for root, affine in table.items():
                learn = self.learn_scales and suffix == "narrow" and root in shown
                module = ActivationScale(affine, self._typical.get(root), learn=learn)
                keys[root] = _key(root, suffix)
                holder.add_module(keys[root], module)
        for node in self._layers():
            grid = WeightScale(
                self._decisions.weights[node.output],
                self.recipe.for_layer(node.name, "weight_bits"),
                self._factor(node),
                learn=self.learn_scales,
            )
            holder.add_module(_key(node.output, "weight"), grid)

    def _fix_hidden_scales(self) -> None:
        """Fix the scales of values that are fused into others: no gradient would reach them, and
        ``DistributedDataParallel`` waits for a gradient of each parameter."""
        wanted = self._wanted(self._lowered(self._codes()))
        shown = {
            self._ranges.roots[name]
            for name, (_, affine) in wanted.items()
            if not affine.dtype.startswith("int")
        }
        for root, key in self._narrow.items():
            if root not in shown:
                affine = self._decisions.activations[root]
                fixed = ActivationScale(affine, self._typical.get(root), learn=False)
                self.get_submodule(STATE).add_module(key, fixed)

    def _layers(self) -> list[Node]:
        return [node for node in self._graph if node.op in WEIGHTED]

    def _factor(self, node: Node) -> Any:
        """Model input per pixel step, for a convolution that reads raw pixels."""
        reads_pixels = node.op == "conv2d" and node.inputs[0] in self._graph.inputs
        return self._pixels.factor if reads_pixels and self._pixels is not None else None

    # -- the integer side --------------------------------------------------------------------------

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def scale_of(self, value: str, form: str) -> ActivationScale | None:
        """The scale of all values that share one with ``value``: form is "narrow" or "wide"."""
        keys = self._narrow if form == "narrow" else self._wide
        key = keys.get(self._ranges.roots[value])
        return None if key is None else self._state(key)

    def _state(self, key: str) -> Any:
        return getattr(self.get_submodule(STATE), key)

    def _grid(self, node: Node) -> WeightScale:
        grid: WeightScale = self._state(_key(node.output, "weight"))
        return grid

    def _codes(self) -> dict[str, Tensor]:
        """Integer weights of every layer, in the layout of its parameter."""
        return {
            node.output: self._grid(node).codes(self.parameter_of(node.inputs[1]))
            for node in self._layers()
        }

    def _lowered(self, codes: Mapping[str, Tensor]) -> Lowered:
        """The integer graph of the current parameters and scales."""
        graph = copy.copy(self._graph)
        trained = {k: self.parameter_of(k).detach().cpu().numpy() for k in self._paths}
        graph.constants = {**self._graph.constants, **trained}
        decisions = dataclasses.replace(
            self._decisions,
            activations={root: self._state(key).affine() for root, key in self._narrow.items()},
            streams={root: self._state(key).affine() for root, key in self._wide.items()},
            weights={n.output: self._integer_weight(n, codes[n.output]) for n in self._layers()},
        )
        lowered = lower(graph, decisions, pixels=self._pixels, known=self._known)
        self._known = self._known or lowered.graph
        return lowered

    def _integer_weight(self, node: Node, codes: Tensor) -> IntegerWeight:
        if node.op == "conv2d":
            codes = codes.permute(0, 2, 3, 1)
        values = codes.flatten(1).T.to(torch.int8).cpu().numpy()
        bias = self.parameter_of(node.inputs[2]).detach().double().cpu().numpy()
        grid = self._grid(node)
        factors = None if grid.multiplier is None else grid.multiplier.cpu().numpy()
        scale = grid.scale.cpu().numpy()
        return IntegerWeight(np.ascontiguousarray(values), scale, bias, factors, grid.group)

    def _outputs(self, lowered: Lowered, raw: Mapping[str, Array]) -> dict[str, Tensor]:
        """De-quantized outputs, without gradients."""
        meaning = {k: lowered.meaning[value] for k, value in self._graph.outputs.items()}
        wanted = [lowered.graph.outputs[public] for public in meaning]
        found = integers(lowered.graph, raw, wanted, self._device)
        return {
            public: _real(found[lowered.graph.outputs[public]], affine)
            for public, (_, affine) in meaning.items()
        }

    # -- the differentiable side -------------------------------------------------------------------

    def _differentiable(
        self, lowered: Lowered, codes: Mapping[str, Tensor], raw: Mapping[str, Array]
    ) -> dict[str, Tensor]:
        wanted = self._wanted(lowered)
        found = integers(lowered.graph, raw, [v for v, _ in wanted.values()], self._device)
        values = self._float_values(raw)
        sizes = bind_sizes(self._graph, {name: values[name] for name in self._graph.inputs})
        for node in self._graph:
            operands = [values[name] for name in node.inputs]
            if node.op in WEIGHTED:
                operands[1] = self._grid(node).rounded(operands[1], codes[node.output])
            result = evaluate(node, operands, sizes)
            self._ranges.note(node, result, active=self.observing and self.training)
            if node.output in wanted:
                value, affine = wanted[node.output]
                layout = (0, 3, 1, 2) if node.output in lowered.channels_last else None
                result = self._exact(node.output, result, found[value], affine, layout)
            values[node.output] = result
        self._follow()
        return {public: values[name] for public, name in self._graph.outputs.items()}

    def _wanted(self, lowered: Lowered) -> dict[str, tuple[str, Affine]]:
        """Float values to be replaced by what integers say, with those integers' names.

        Operators that only move values move exact ones exactly.
        """
        exact: dict[str, Affine] = {}
        wanted: dict[str, tuple[str, Affine]] = {}
        for node in self._graph:
            value, affine = lowered.meaning.get(node.output, ("", None))
            if affine is None or value in lowered.graph.constants:
                continue
            exact[node.output] = affine
            moves = node.op in SHAPE_ONLY and all(exact.get(x) == affine for x in node.inputs)
            if not moves:
                wanted[node.output] = (value, affine)
        return wanted

    def _float_values(self, raw: Mapping[str, Array]) -> dict[str, Tensor]:
        device = self._device
        values = {
            name: x.to(device) for name, x in float_inputs(self._graph, raw, self._pixels).items()
        }
        for name, array in self._graph.constants.items():
            known = name in self._paths
            values[name] = self.parameter_of(name) if known else torch.from_numpy(array).to(device)
        return values

    def _exact(
        self,
        name: str,
        result: Tensor,
        found: Tensor,
        affine: Affine,
        layout: tuple[int, ...] | None,
    ) -> Tensor:
        """The value that the integers stand for, with the gradient of ``result``."""
        bottom, top = affine.limits
        clipped = bool(found.amin() == bottom) or bool(found.amax() == top)
        exact = _real(found, affine).to(result.dtype)
        exact = (exact if layout is None else exact.permute(layout)).reshape(result.shape)
        low = affine.scale * (bottom - 0.5 - affine.zero_point)
        high = affine.scale * (top + 0.5 - affine.zero_point)
        scale = self.scale_of(name, "wide" if affine.dtype.startswith("int") else "narrow")
        if scale is not None and isinstance(scale.log_gain, nn.Parameter):
            return replaced_learning(result, exact, low, high, scale.log_gain, top)
        return replaced(result, exact, low, high, clipped=clipped)

    def _follow(self) -> None:
        """Move the ranges by what was seen in this pass, on every process alike."""
        for root, low, high in self._ranges.collected():
            for form in ("narrow", "wide"):
                scale = self.scale_of(root, form)
                if scale is not None and scale.follows:
                    scale.observe(low, high, self.momentum)

    def _raw(self, arrays: tuple[Any, ...], inputs: Mapping[str, Any]) -> dict[str, Array]:
        named = {**dict(zip(self._graph.inputs, arrays, strict=False)), **inputs}
        return {
            name: x.cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
            for name, x in named.items()
        }


def prepare(
    model: Any,
    calibration: Iterable[Any],
    recipe: str | Path | dict[str, Any] | Recipe = "intformer",
    *,
    learn_scales: bool = False,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    progress: Progress | None = None,
) -> Twin:
    """Calibrate ``model`` as ``quantize`` does and return its trainable twin, in evaluation mode.

    Gradients flow in both modes; in training mode the ranges of activations follow the data.

    Args:
        learn_scales: learn the scales of weights and 8-bit activations (LSQ) instead of letting
            activation ranges follow the data.

    Other arguments and errors are those of ``intformer.quantize``.
    """
    found = calibrated(
        model, calibration, load_recipe(recipe), mean=mean, std=std, progress=progress
    )
    twin = Twin(
        with_biases(found.graph),
        found.decisions,
        found.pixels,
        found.recipe,
        found.typical,
        learn_scales=learn_scales,
    )
    return twin.eval()


def convert(twin: nn.Module) -> Program:
    """The integer program of a (trained) twin: exactly what its forward pass computed.

    Wrappers such as ``DistributedDataParallel`` and ``AveragedModel`` are looked through.
    """
    return unwrapped(twin).program()


def unwrapped(module: nn.Module) -> Twin:
    """The twin inside wrappers that name what they wrap ``module``."""
    while not isinstance(module, Twin):
        module = module.get_submodule("module")
    return module


def _key(value: str, kind: str) -> str:
    """A submodule name: no dots, and no name that a module has anyway."""
    return f"{value.replace('.', '/')}:{kind}"


def _real(found: Tensor, affine: Affine) -> Tensor:
    """float32; exact up to one rounding, since integers here have at most 24 bits."""
    return found.float().sub_(affine.zero_point).mul_(affine.scale)
