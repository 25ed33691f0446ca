"""The float model of a translation program, decoded by the same searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from intformer.errors import InputError
from intformer.generate.fixed_point import SCORE_BITS
from intformer.generate.model import padded

Array = NDArray[Any]


@runtime_checkable
class FloatModel(Protocol):
    """A PyTorch translation model that can be asked for one token at a time.

    Those of ``intformer.models`` can, and so can those of ``hf:FOLDER`` sources, by the library's
    own layers (``frontend.hugging_face.adapt``).

    Attributes:
        longest: tokens of a source and of a target at most.
    """

    longest: int

    def encode(self, ids: Tensor, mask: Tensor, /) -> Tensor:
        """Source ids int64 [N, S], ``mask`` 0 at padding, to float32 [N, S, E]."""

    def next_logits(self, memory: Tensor, mask: Tensor, ids: Tensor, /) -> Tensor:
        """float32 [N, V] of the token after target prefixes int64 [N, T]."""


class FloatScores:
    """Ranks tokens by float logits; scores are log2 probabilities rounded to 2^-16."""

    def rank(self, logits: Array, closed: Array, keep: int) -> tuple[Array, Array]:
        """See ``generate.ranking.rank``; ``logits`` are float32 [N, V]."""
        wide = logits.astype(np.float64) / np.log(2)
        wide -= wide.max(axis=1, keepdims=True)
        scores = wide - np.log2(np.exp2(wide).sum(axis=1, keepdims=True))
        open_tokens = np.flatnonzero(closed == 0)
        order = np.argsort(-logits[:, open_tokens], axis=1, kind="stable")[:, :keep]
        tokens = open_tokens[order]
        chosen = np.take_along_axis(scores, tokens, 1)
        return tokens, np.round(chosen * 2**SCORE_BITS).astype(np.int64)


class FloatTranslator:
    """A ``DecodingModel`` of a PyTorch translation model. It has no cache: it is a yardstick.

    Raises:
        InputError: the module is no ``FloatModel``.
    """

    def __init__(self, module: object) -> None:
        if not isinstance(module, FloatModel):
            raise InputError(
                f"{type(module).__name__}: only translation models of the zoo's kind and of "
                "hf:FOLDER can be decoded in floating point"
            )
        self.module = module
        self.scale = FloatScores()
        self.longest = self.longest_source = module.longest

    @torch.inference_mode()
    def start(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] = ()
    ) -> tuple[FloatDecoder, Array]:
        """A decoder and the logits float32 [N, V] after the prompts, which have one length."""
        ids, lengths = padded(sources)
        mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64))
        memory = self.module.encode(torch.from_numpy(ids), mask)
        decoder = FloatDecoder(self.module, memory, mask, torch.tensor([list(p) for p in prompts]))
        return decoder, decoder.logits()


class FloatDecoder:
    """Prefixes int64 [N, T] and what they are translated from; see ``Decoder``."""

    def __init__(self, module: FloatModel, memory: Tensor, mask: Tensor, prefix: Tensor) -> None:
        self._module, self._memory, self._mask, self._prefix = module, memory, mask, prefix

    @torch.inference_mode()
    def logits(self) -> Array:
        """float32 [N, V] of the token after each prefix."""
        logits = self._module.next_logits(self._memory, self._mask, self._prefix)
        return np.asarray(logits.numpy())

    def step(self, tokens: Array) -> Array:
        """Append ``tokens`` int64 [N]; logits of what follows."""
        self._prefix = torch.cat((self._prefix, torch.from_numpy(tokens)[:, None]), 1)
        return self.logits()

    def select(self, rows: Array) -> None:
        """Row i becomes what row ``rows[i]`` is now."""
        index = torch.from_numpy(rows)
        self._memory, self._mask = self._memory[index], self._mask[index]
        self._prefix = self._prefix[index]
