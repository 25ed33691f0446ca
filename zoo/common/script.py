"""What the scripts that train sequence models have in common, around the loop itself."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from common.text import train_tokenizer
from common.trainer import Task, Trainer, add_training_options, average_weights, save_weights
from intformer.evaluate.data_files import find_data
from intformer.models.transformer import TransformerConfig, preset

PREFIX = "model."
"""Parameters of the model inside the module that computes its loss."""


def data_path(name: str) -> Path:
    """A data file or folder by its name; where tests look, or as it is if nothing is there."""
    return find_data(name) or Path(name)


def parse(
    parser: argparse.ArgumentParser, argv: list[str] | None, **defaults: Any
) -> argparse.Namespace:
    """The script's own options and those of the loop; threads are set, the folder is made."""
    add_training_options(parser)
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    args.work = args.work or args.out / "work"
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def get_tokenizer(args: argparse.Namespace, text: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer in the output folder, trained on ``text()`` if there is none yet."""
    path = args.out / "tokenizer.json"
    if not path.exists():
        train_tokenizer(text(), args.vocab).save(str(path))
    return Tokenizer.from_file(str(path))


def configure(args: argparse.Namespace, tokenizer: Tokenizer, **changes: Any) -> TransformerConfig:
    """The configuration that the command line asks for; weights will start from its seed."""
    config = preset(args.size, variant=args.variant, dropout=args.dropout, **changes)
    torch.manual_seed(args.seed)
    return replace(config, vocab_size=tokenizer.get_vocab_size())


def train_and_save(
    args: argparse.Namespace, model: nn.Module, task: Task, facts: dict[str, Any]
) -> None:
    """Train, average the last checkpoints, write the model folder; ``facts`` go to task.json.

    ``model`` holds the model with a ``config`` as its attribute ``model``.
    """
    trainer = Trainer(args, model, task)
    trainer.run()
    if not trainer.accelerator.is_main_process:
        return
    state = average_weights(trainer.checkpoints())
    weights = {name.removeprefix(PREFIX): value for name, value in state.items()}
    save_weights(weights, args.out / "model.safetensors")
    model.model.config.save(args.out / "config.json")
    (args.out / "task.json").write_text(json.dumps(facts) + "\n")
