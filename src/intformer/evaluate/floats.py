"""The float model that a program is measured against, fed with the program's raw inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from intformer.errors import InputError
from intformer.evaluate.framing import Pixels
from intformer.evaluate.tokens import Ids, takes_tokens, token_feed
from intformer.quantize.float_run import FloatRunner

Floats = dict[str, NDArray[np.float32]]


class FloatModel:
    """A model source that takes uint8 pixels [N, H, W, 3], or token ids and a mask.

    Raises:
        InputError: the source takes neither.
    """

    def __init__(self, source: Any) -> None:
        self._runner = FloatRunner(source.graph)
        self.graph = source.graph
        self._text = takes_tokens(source.graph)
        if self._text:
            return
        if len(source.graph.inputs) != 1:
            raise InputError(f"{source.name}: takes neither one image nor token ids")
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)
            for values in (source.preprocess.mean, source.preprocess.std)
        )

    def images(self, pixels: Pixels) -> Floats:
        """Outputs for uint8 [N, H, W, 3], normalised as the model was trained with."""
        (name,) = self.graph.inputs
        return self._run({name: self.normalised(pixels)})

    def normalised(self, pixels: Pixels) -> torch.Tensor:
        """uint8 [N, H, W, 3] -> float32 [N, 3, H, W], (x / 255 - mean) / std."""
        x = torch.from_numpy(np.array(pixels, order="C")).permute(0, 3, 1, 2).float() / 255
        return (x - self._mean) / self._std

    def tokens(self, ids: Ids, mask: Ids) -> Floats:
        """Outputs for token ids and mask [N, S]."""
        feed = token_feed(self.graph, ids, mask)
        return self._run({name: torch.from_numpy(array) for name, array in feed.items()})

    def _run(self, feed: dict[str, torch.Tensor]) -> Floats:
        with torch.inference_mode():
            outputs = self._runner.outputs(feed)
        return {name: value.numpy() for name, value in outputs.items()}
