"""Folders of small random sequence models, as the zoo's training scripts leave them, and data."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from intformer.models.transformer import TransformerConfig, build_transformer

ZOO = Path(__file__).resolve().parents[2] / "zoo"
sys.path.insert(0, str(ZOO))

from common.text import train_tokenizer  # noqa: E402

WORDS = "a dog runs over the green grass with one red ball and two small cats near old houses"
PAIR = "en-de"


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS.split(), k=rng.randint(3, 9))) for _ in range(count)]


def write_data(folder: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Parallel files SPLIT.en.gz and SPLIT.de.gz, and text.txt.gz."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        for language in PAIR.split("-"):
            text = "\n".join(sentences(40, len(split))) + "\n"
            with gzip.open(folder / f"{split}.{language}.gz", "wt") as file:
                file.write(text)
    with gzip.open(folder / "text.txt.gz", "wt") as file:
        file.write("\n".join(sentences(120, 1)) + "\n")
    return folder


def write_model(folder: Path, variant: str, *, translates: bool) -> Path:
    """Configuration, random weights, tokenizer and task of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(sentences(50, 0), 280)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = TransformerConfig(
        variant=variant,
        vocab_size=tokenizer.get_vocab_size(),
        dim=32,
        ffn=48,
        encoder_layers=1 if translates else 0,
        decoder_layers=1,
        max_length=40,
    )
    torch.manual_seed(8)
    model = build_transformer(config)
    save_file(dict(model.state_dict()), folder / "model.safetensors")
    config.save(folder / "config.json")
    task = {"pair": PAIR} if translates else {"length": 16}
    (folder / "task.json").write_text(json.dumps(task))
    return folder
