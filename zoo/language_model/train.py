"""Train a language model of the zoo on plain text, one paragraph a line.

The same script runs on a CPU and on a GPU; Hugging Face Accelerate places the model, handles mixed
precision and saves the resumable state. Run ``python zoo/language_model/train.py --help``.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "zoo"))

from common.loss import projected_loss  # noqa: E402
from common.text import BOS, EOS, encode_lines, read_lines, train_tokenizer  # noqa: E402
from common.trainer import (  # noqa: E402
    Batch,
    Task,
    Trainer,
    add_training_options,
    average_weights,
    console,
    save_weights,
)

from intformer.models.transformer import LanguageModel, preset  # noqa: E402


def make_blocks(stream: Tensor, length: int, tokens: int, seed: int | None) -> list[Batch]:
    """Inputs and labels (B, length) cut from one stream of tokens, shuffled by ``seed``.

    With a seed the cuts begin at a random offset, so that epochs differ.
    """
    rng = random.Random(seed)
    start = 0 if seed is None else rng.randrange(length)
    count = (len(stream) - 1 - start) // length
    order = list(range(count))
    if seed is not None:
        rng.shuffle(order)
    rows = max(tokens // length, 1)
    batches = []
    for first in range(0, count, rows):
        begins = [start + i * length for i in order[first : first + rows]]
        block = torch.stack([stream[b : b + length + 1] for b in begins]).long()
        batches.append((block[:, :-1], block[:, 1:]))
    return batches


class WithLoss(nn.Module):
    """The model with its loss inside, so that distributed wrappers see one forward."""

    def __init__(self, model: LanguageModel, smoothing: float) -> None:
        super().__init__()
        self.model, self.smoothing = model, smoothing

    def forward(self, ids: Tensor, labels: Tensor) -> object:
        """Summed smoothed loss and negative log-likelihood."""
        hidden = self.model.hidden(ids).flatten(0, 1)
        weight = self.model.embed.tokens.weight
        return projected_loss(hidden, weight, labels.flatten(), self.smoothing)


def batch_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """The loop's view of one batch; see :class:`Task`."""
    loss, nll = model(*batch)
    return loss, nll, batch[1].numel()


def token_stream(path: Path, tokenizer: Tokenizer, lines: int) -> Tensor:
    """All tokens of a file, int32, every paragraph between ``<s>`` and ``</s>``."""
    text = read_lines(path)[: lines or None]
    rows = encode_lines(tokenizer, text)
    return torch.tensor([t for row in rows for t in (BOS, *row, EOS)], dtype=torch.int32)


def get_tokenizer(args: argparse.Namespace) -> Tokenizer:
    """The tokenizer in the output folder, trained on the text if there is none yet."""
    path = args.out / "tokenizer.json"
    if not path.exists():
        train_tokenizer(read_lines(args.train), args.vocab).save(str(path))
    return Tokenizer.from_file(str(path))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    data = Path(os.environ.get("INTFORMER_DATA", PROJECT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description="Train a language model of the zoo.")
    add_training_options(parser)
    add = parser.add_argument
    add("--train", type=Path, default=data / "lm" / "debian_train.txt.gz")
    add("--valid", type=Path, default=data / "lm" / "debian_valid.txt.gz")
    add("--lines", type=int, default=0, help="use the first lines only; 0 uses all")
    add("--vocab", type=int, default=6000, help="size of the vocabulary")
    add("--length", type=int, default=128, help="tokens in a training sequence")
    parser.set_defaults(dropout=0.1, smoothing=0.0, tokens=8192, epochs=10)
    args = parser.parse_args(argv)
    args.work = args.work or args.out / "work"
    return args


def main() -> None:
    """Train, average the last checkpoints, write the model folder."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = get_tokenizer(args)
    config = preset(args.size, variant=args.variant, dropout=args.dropout, encoder_layers=0)
    config = replace(config, vocab_size=tokenizer.get_vocab_size())
    torch.manual_seed(args.seed)
    model = LanguageModel(config)
    train = token_stream(args.train, tokenizer, args.lines)
    valid = token_stream(args.valid, tokenizer, 0)
    console.print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train)} tokens")
    task = Task(
        lambda epoch: make_blocks(train, args.length, args.tokens, 1000 * args.seed + epoch),
        make_blocks(valid, args.length, args.tokens, None),
        batch_loss,
    )
    trainer = Trainer(args, WithLoss(model, args.smoothing), task)
    trainer.run()
    if trainer.accelerator.is_main_process:
        state = average_weights(trainer.checkpoints()[-args.average :])
        weights = {k.removeprefix("model."): v for k, v in state.items()}
        save_weights(weights, args.out / "model.safetensors")
        config.save(args.out / "config.json")


if __name__ == "__main__":
    main()
