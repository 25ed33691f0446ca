"""Train a translation model of the zoo on Multi30k (or any pair of line-aligned files).

The same script runs on a CPU and on a GPU; Hugging Face Accelerate places the model, handles mixed
precision and saves the resumable state. Run ``python zoo/translation/train.py --help``.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

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
from common.text import BOS, EOS, PAD, encode_lines, pad_rows, read_lines  # noqa: E402
from common.trainer import Batch, Task, console  # noqa: E402

from intformer.models.transformer import TranslationTransformer  # noqa: E402

Pair = tuple[list[int], list[int]]


def make_batch(pairs: list[Pair]) -> Batch:
    """Source ids with end mark, their mask, decoder input and labels, all (B, length) int64."""
    source = pad_rows([[*s, EOS] for s, _ in pairs])
    inputs = pad_rows([[BOS, *t] for _, t in pairs])
    labels = pad_rows([[*t, EOS] for _, t in pairs])
    return source, (source != PAD).long(), inputs, labels


def make_batches(pairs: list[Pair], tokens: int, seed: int) -> list[Batch]:
    """Shuffled batches of at most about ``tokens`` target positions, alike in length inside."""
    rng = random.Random(seed)
    # The noise mixes neighbouring lengths differently in every epoch.
    order = sorted(pairs, key=lambda p: len(p[1]) + 0.5 * len(p[0]) + 2 * rng.random())
    groups: list[list[Pair]] = [[]]
    for pair in order:
        longest = max([len(t) for _, t in groups[-1]] + [len(pair[1])]) + 1
        if groups[-1] and longest * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(pair)
    rng.shuffle(groups)
    return [make_batch(group) for group in groups]


class WithLoss(nn.Module):
    """The model with its loss inside, so that distributed wrappers see one forward."""

    def __init__(self, model: TranslationTransformer, smoothing: float) -> None:
        super().__init__()
        self.model, self.smoothing = model, smoothing

    def forward(self, source: Tensor, mask: Tensor, inputs: Tensor, labels: Tensor) -> object:
        """Summed smoothed loss and negative log-likelihood of the real labels."""
        hidden = self.model.decode(self.model.encode(source, mask), mask, inputs)
        real = labels.flatten() != PAD
        hidden = hidden.flatten(0, 1)[real]
        weight = self.model.embed.tokens.weight
        return projected_loss(hidden, weight, labels.flatten()[real], self.smoothing)


def batch_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """The loop's view of one batch; see :class:`Task`."""
    loss, nll = model(*batch)
    return loss, nll, int((batch[3] != PAD).sum())


def load_pairs(args: argparse.Namespace, split: str, tokenizer: Tokenizer) -> list[Pair]:
    """Token ids of both sides of a split, over-long pairs dropped."""
    source, target = args.pair.split("-")
    files = [read_lines(args.data / f"{split}.{side}.gz") for side in (source, target)]
    sides = [encode_lines(tokenizer, lines) for lines in files]
    pairs = list(zip(*sides, strict=True))
    return [p for p in pairs if max(map(len, p)) < args.max_length]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train a translation model of the zoo.")
    add = parser.add_argument
    add("--pair", default="en-de", help="source and target: suffixes of the files")
    add("--data", type=Path, default=data_path("multi30k"), help="folder of {train,val}.LANG.gz")
    add("--vocab", type=int, default=4000, help="size of the joint vocabulary")
    add("--max-length", type=int, default=100, help="longest side of a training pair, in tokens")
    return parse(parser, argv)


def main() -> None:
    """Train, average the last checkpoints, write the model folder."""
    args = parse_args()
    files = [args.data / f"train.{side}.gz" for side in args.pair.split("-")]
    tokenizer = get_tokenizer(args, lambda: (line for f in files for line in read_lines(f)))
    model = TranslationTransformer(configure(args, tokenizer))
    train, valid = (load_pairs(args, split, tokenizer) for split in ("train", "val"))
    console.print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train)} pairs")
    task = Task(
        lambda epoch: make_batches(train, args.tokens, 1000 * args.seed + epoch),
        make_batches(valid, args.tokens, 0),
        batch_loss,
    )
    train_and_save(args, WithLoss(model, args.smoothing), task, {"pair": args.pair})


if __name__ == "__main__":
    main()
