"""Translation and language models of ``intformer.models`` as model sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from intformer.errors import CaptureError
from intformer.frontend.capture import capture
from intformer.frontend.preprocess import SequencePreprocess, read_json
from intformer.generate.special import SpecialTokens
from intformer.ir.graph import Graph
from intformer.models.transformer import TransformerConfig


def capture_sequences(model: Any) -> Graph:
    """The forward program of a model (docs/sequence.md): all target positions at once."""
    ids = torch.zeros(2, 7, dtype=torch.long)
    longest = model.config.max_length
    if model.config.encoder_layers == 0:
        return _captured(model, {"ids": ids}, ["input_ids"], "input_ids", longest)
    target = torch.zeros(2, 5, dtype=torch.long)
    example = {"source": ids, "source_mask": torch.ones_like(ids), "target": target}
    return _captured(model, example, list(example), "target", longest)


def _captured(
    model: nn.Module, example: dict[str, torch.Tensor], names: list[str], target: str, longest: int
) -> Graph:
    return capture(
        model,
        example,
        names=names,
        outputs=["logits"],
        dynamic={target: {0: "N", 1: "T"}},
        limits={"S": longest, "T": longest},
    )


def preprocess_sequences(folder: Path, config: TransformerConfig) -> SequencePreprocess:
    """Tokens and task of a model folder: ``tokenizer.json`` and ``task.json``.

    Raises:
        CaptureError: there is no tokenizer, or the task cannot be read.
    """
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise CaptureError(f"{folder}: a sequence model needs its tokenizer.json beside it")
    task = read_json(folder / "task.json")
    translates = config.encoder_layers > 0
    special = SpecialTokens(
        start=(config.bos_id,),
        end=config.eos_id,
        source_end=(config.eos_id,) if translates else (),
        forbidden=(config.pad_id, config.bos_id),
    )
    length = min(int(task.get("length", config.max_length)), config.max_length)
    return SequencePreprocess(tokenizer, special, length, str(task.get("pair", "")))
