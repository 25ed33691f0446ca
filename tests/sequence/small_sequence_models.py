"""Small random sequence models, their float graphs and calibrated programs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from intformer.frontend.capture import capture
from intformer.ir.graph import Array, Graph
from intformer.models.transformer import (
    LanguageModel,
    TransformerConfig,
    TranslationTransformer,
)
from intformer.program import Program
from intformer.quantize.api import quantize

VOCABULARY = 50
Batch = dict[str, Array]


def config(variant: str, **changes: Any) -> TransformerConfig:
    shape = {"vocab_size": VOCABULARY, "dim": 32, "ffn": 48, "max_length": 40}
    layers = {"encoder_layers": 2, "decoder_layers": 2}
    return TransformerConfig(variant=variant, **{**shape, **layers, **changes})


@lru_cache
def translator(variant: str, norm_first: bool = True) -> TranslationTransformer:
    torch.manual_seed(3)
    return TranslationTransformer(config(variant, norm_first=norm_first)).eval()


@lru_cache
def language_model(variant: str) -> LanguageModel:
    torch.manual_seed(4)
    return LanguageModel(config(variant, encoder_layers=0)).eval()


def translator_graph(model: TranslationTransformer) -> Graph:
    example = {
        "source": torch.zeros(2, 7, dtype=torch.long),
        "source_mask": torch.ones(2, 7, dtype=torch.long),
        "target": torch.zeros(2, 5, dtype=torch.long),
    }
    axes = {"target": {0: "N", 1: "T"}}
    return capture(model, example, dynamic=axes, outputs=["logits"])


def pairs(rows: int, seed: int, longest: tuple[int, int] = (9, 7)) -> Batch:
    """Random sentences of different lengths, padded on the right, and random targets."""
    rng = np.random.default_rng(seed)
    source = rng.integers(3, VOCABULARY, (rows, longest[0]))
    lengths = rng.integers(1, longest[0] + 1, rows)
    lengths[0] = longest[0]
    mask = (np.arange(longest[0]) < lengths[:, None]).astype(np.uint8)
    target = rng.integers(3, VOCABULARY, (rows, longest[1]))
    return {"source": source * mask, "source_mask": mask, "target": target}


def token_rows(rows: int, seed: int, length: int = 9, name: str = "ids") -> Batch:
    return {name: np.random.default_rng(seed).integers(3, VOCABULARY, (rows, length))}


@lru_cache
def translation_program(variant: str, norm_first: bool = True) -> Program:
    graph = translator_graph(translator(variant, norm_first))
    return quantize(graph, [pairs(8, seed) for seed in range(6)])


@lru_cache
def language_program(variant: str) -> Program:
    ids = torch.zeros(2, 7, dtype=torch.long)
    axes = {"ids": {0: "N", 1: "T"}}
    graph = capture(language_model(variant), {"ids": ids}, dynamic=axes, outputs=["logits"])
    return quantize(graph, [token_rows(8, seed) for seed in range(6)])
