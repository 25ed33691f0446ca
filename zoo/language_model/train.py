"""Train a language model of the zoo on plain text, one paragraph a line.

The same script runs on a CPU and on a GPU; Hugging Face Accelerate places the model, handles mixed
precision and saves the resumable state. Run ``python zoo/language_model/train.py --help``.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "zoo"))

from common.loss import projected_loss  # noqa: E402
from common.script import (  # noqa: E402
    configure,
    data_path,
    get_tokenizer,
    parse,
    train_and_save,
)
from common.text import BOS, EOS, encode_lines, read_lines  # noqa: E402
from common.trainer import Batch, Task, console  # noqa: E402

from intformer.models.transformer import LanguageModel  # noqa: E402


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


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train a language model of the zoo.")
    add = parser.add_argument
    add("--train", type=Path, default=data_path("lm/debian_train.txt.gz"))
    add("--valid", type=Path, default=data_path("lm/debian_valid.txt.gz"))
    add("--lines", type=int, default=0, help="use the first lines only; 0 uses all")
    add("--vocab", type=int, default=6000, help="size of the vocabulary")
    add("--length", type=int, default=128, help="tokens in a training sequence")
    return parse(parser, argv, dropout=0.1, smoothing=0.0, tokens=8192, epochs=10)


def main() -> None:
    """Train, average the last checkpoints, write the model folder."""
    args = parse_args()
    tokenizer = get_tokenizer(args, lambda: read_lines(args.train))
    model = LanguageModel(configure(args, tokenizer, encoder_layers=0))
    train = token_stream(args.train, tokenizer, args.lines)
    valid = token_stream(args.valid, tokenizer, 0)
    console.print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train)} tokens")
    task = Task(
        lambda epoch: make_blocks(train, args.length, args.tokens, 1000 * args.seed + epoch),
        make_blocks(valid, args.length, args.tokens, None),
        batch_loss,
    )
    train_and_save(args, WithLoss(model, args.smoothing), task, {"length": args.length})


if __name__ == "__main__":
    main()
