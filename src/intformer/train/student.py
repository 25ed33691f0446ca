"""What is trained: the twin of a program, or a float module. Both take raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intformer.errors import InputError
from intformer.frontend.sources import Source
from intformer.ir.graph import Graph
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.samples import float_inputs


class FloatStudent(nn.Module):
    """A source's module that takes uint8 [N, H, W, 3] and gives a dictionary of logits.

    Raises:
        InputError: the source has no module (an ONNX file), or takes no images.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        if source.module is None or not hasattr(source.preprocess, "mean"):
            raise InputError(f"{source.name}: only image models made of modules train in float")
        self.module = source.module
        self._graph, self._pixels = source.graph, normalisation(source)

    def forward(self, pixels: Any) -> dict[str, Tensor]:
        """Logits of raw pixels."""
        raw = {name: np.asarray(pixels) for name in self._graph.inputs}
        (images,) = float_inputs(self._graph, raw, self._pixels).values()
        device = next(self.module.parameters()).device
        return {"logits": self.module(images.to(device))}

    def freeze(self) -> None:
        """There are no ranges."""

    def scale_parameters(self) -> list[nn.Parameter]:
        """There are no scales."""
        return []

    def save(self, path: Path) -> None:
        """Write the weights (safetensors)."""
        from safetensors.torch import save_file

        state = {k: v.detach().cpu().contiguous() for k, v in self.module.state_dict().items()}
        save_file(state, path, metadata={"format": "pt"})


class Teacher:
    """The float model's answers, without gradients."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self._runner = FloatRunner(source.graph, device)
        self._graph, self._pixels = source.graph, normalisation(source)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits [N, classes] of uint8 [N, H, W, 3]."""
        (name,) = self._graph.inputs
        images = float_inputs(self._graph, {name: pixels.cpu().numpy()}, self._pixels)
        return self._runner.outputs(images)[logits_of(self._graph)]


def normalisation(source: Source) -> Pixels | None:
    """How the pixels of a source are normalised."""
    preprocess: Any = source.preprocess
    return Pixels(tuple(preprocess.mean), tuple(preprocess.std))


def logits_of(graph: Graph) -> str:
    """The output that holds class scores.

    Raises:
        InputError: the model is no classifier of images.
    """
    from intformer.evaluate.outputs import logits_name

    name = logits_name(graph.outputs)
    inputs = list(graph.inputs.values())
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise InputError("training takes classifiers of images; this model takes something else")
    return name


def class_count(graph: Graph) -> int:
    """Number of classes.

    Raises:
        InputError: the model is no classifier of images.
    """
    shape = graph.types[graph.outputs[logits_of(graph)]].shape
    if len(shape) != 2 or not isinstance(shape[1], int):
        raise InputError(f"training takes classifiers; this model's output has shape {shape}")
    return shape[1]
