"""BLEU of a translation model of the zoo in floating point, with sacreBLEU's signature."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import sacrebleu
import torch
from rich.progress import track
from tokenizers import Tokenizer
from torch import Tensor

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "zoo"))

from common.text import BOS, EOS, PAD, encode_lines, pad_rows, read_lines  # noqa: E402

from intformer.models.transformer import TranslationTransformer, load_transformer  # noqa: E402


@torch.inference_mode()
def greedy(model: TranslationTransformer, source: Tensor, longest: int) -> list[list[int]]:
    """The most likely token after each prefix until the end mark, for a padded batch (B, S)."""
    mask = (source != PAD).long()
    memory = model.encode(source, mask)
    prefix = torch.full((len(source), 1), BOS)
    done = torch.zeros(len(source), dtype=torch.bool)
    while prefix.shape[1] <= longest and not bool(done.all()):
        hidden = model.decode(memory, mask, prefix)[:, -1]
        token = model.embed.project(hidden).argmax(-1).masked_fill(done, EOS)
        done |= token == EOS
        prefix = torch.cat((prefix, token[:, None]), 1)
    return [row[1 : [*row, EOS].index(EOS)] for row in prefix.tolist()]


def translate(
    model: TranslationTransformer, tokenizer: Tokenizer, lines: list[str], batch: int = 100
) -> list[str]:
    """Greedy translations of ``lines``, in their order."""
    rows = [[*ids, EOS] for ids in encode_lines(tokenizer, lines)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    result = [""] * len(rows)
    starts = range(0, len(order), batch)
    for start in track(starts, description="translating", transient=True):
        part = order[start : start + batch]
        source = pad_rows([rows[i] for i in part])
        outputs = greedy(model, source, longest=2 * source.shape[1] + 10)
        for i, text in zip(part, tokenizer.decode_batch(outputs), strict=True):
            result[i] = text.strip()
    return result


def main() -> None:
    """Command line entry point."""
    data = Path(os.environ.get("INTFORMER_DATA", PROJECT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a trained model")
    parser.add_argument("--data", type=Path, default=data / "multi30k")
    parser.add_argument("--split", default="test_2016_flickr")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = load_transformer(args.model)
    assert isinstance(model, TranslationTransformer)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    source, target = json.loads((args.model / "task.json").read_text())["pair"].split("-")
    lines, references = (
        read_lines(args.data / f"{args.split}.{side}.gz") for side in (source, target)
    )
    bleu = sacrebleu.BLEU()
    score = bleu.corpus_score(translate(model, tokenizer, lines), [references])
    print(f"{args.split} {source}-{target} greedy: {score.score:.2f} BLEU  {bleu.get_signature()}")


if __name__ == "__main__":
    main()
