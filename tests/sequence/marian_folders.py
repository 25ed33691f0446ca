"""Folders as OPUS-MT models have them: two SentencePiece files, vocabularies, a random model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from intformer.evaluate.data_files import find_data
from intformer.evaluate.parallel import ParallelText, open_parallel

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

LENGTH = 48
END, UNKNOWN, PAD = "</s>", "<unk>", "<pad>"


@dataclass(frozen=True)
class Kind:
    """What differs between such folders.

    Attributes:
        pieces: type of the SentencePiece models.
        separate: the target has a vocabulary of its own.
        options: of the trainer.
        config: entries of tokenizer_config.json.
    """

    pieces: str = "unigram"
    separate: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    config: tuple[tuple[str, Any], ...] = (("source_lang", "en"), ("target_lang", "de"))


@cache
def text() -> ParallelText:
    """Multi30k where it is, else what Python says of itself, and the same words backwards."""
    data = find_data("multi30k")
    if data is not None:
        return open_parallel(data, "en-de", "train").limited(2000)
    pages = [line for _, page in sorted(topics.items()) for line in page.splitlines()]
    lines = [line.strip() for line in pages if len(line.split()) > 5][:2000]
    return ParallelText(lines, [" ".join(w[::-1] for w in line.split()) for line in lines])


@cache
def trained(side: str, pieces: str, options: tuple[tuple[str, Any], ...]) -> bytes:
    """A SentencePiece file of one side."""
    lines: Iterator[str] = iter(getattr(text(), side))
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type=pieces,
        vocab_size=700,
        minloglevel=2,
        **dict(options),
    )
    return model.getvalue()


def write_tokenizer(folder: Path, kind: Kind, more: tuple[str, ...] = ()) -> Path:
    """source.spm, target.spm, vocab.json, tokenizer_config.json; ``more`` are further words."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {s: trained(s, kind.pieces, kind.options) for s in ("source", "target")}
    words = {side: _pieces(model) for side, model in models.items()}
    for side, model in models.items():
        (folder / f"{side}.spm").write_bytes(model)
    if not kind.separate:
        words["source"] += words["target"]
    files = {"vocab.json": "source", **({"target_vocab.json": "target"} if kind.separate else {})}
    for name, side in files.items():
        every = dict.fromkeys([END, UNKNOWN, *more, *words[side], PAD])
        (folder / name).write_text(json.dumps({word: i for i, word in enumerate(every)}))
    config = {**dict(kind.config), **({"separate_vocabs": True} if kind.separate else {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def _pieces(file: bytes) -> list[str]:
    model = sentencepiece.SentencePieceProcessor(model_proto=file)
    every = range(model.get_piece_size())
    return [model.id_to_piece(i) for i in every if not model.is_control(i)]


def write_marian(folder: Path, kind: Kind) -> Path:
    """The tokenizer, and a small model with random weights that prefers some words."""
    write_tokenizer(folder, kind)
    words = len(json.loads((folder / "vocab.json").read_text()))
    own = folder / "target_vocab.json"
    target = len(json.loads(own.read_text())) if kind.separate else words
    layers = {"layers": 1, "attention_heads": 4, "ffn_dim": 48}
    sides = ("encoder", "decoder")
    fields = {f"{side}_{key}": value for side in sides for key, value in layers.items()}
    config = transformers.MarianConfig(
        vocab_size=words,
        decoder_vocab_size=target,
        share_encoder_decoder_embeddings=not kind.separate,
        tie_word_embeddings=not kind.separate,
        d_model=32,
        max_position_embeddings=LENGTH,
        scale_embedding=True,
        pad_token_id=words - 1,
        decoder_start_token_id=target - 1,
        eos_token_id=0,
        forced_eos_token_id=None,
        **fields,
    )
    torch.manual_seed(12)
    model = transformers.MarianMTModel(config).eval()
    _liven(model)
    model.save_pretrained(folder)
    return folder


@torch.no_grad()
def _liven(model: torch.nn.Module) -> None:
    """Random weights leave all logits alike; these tell words and positions apart."""
    for name, value in model.named_parameters():
        if "embed_positions" not in name and value.dim() == 2:
            value.normal_(std=value.shape[1] ** -0.5)
    model.final_logits_bias.normal_(std=0.5)
