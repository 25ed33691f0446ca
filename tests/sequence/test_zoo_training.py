"""The shared training code: the chunked loss against PyTorch's, the batches, a short run."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

ZOO = Path(__file__).resolve().parents[2] / "zoo"
sys.path.insert(0, str(ZOO))

from common.loss import projected_loss  # noqa: E402
from common.trainer import average_weights, inverse_sqrt, save_weights  # noqa: E402
from language_model import train as train_language_model  # noqa: E402
from translation import train  # noqa: E402

from intformer.models.transformer import load_transformer  # noqa: E402


def test_chunked_loss_is_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(1100, 16, requires_grad=True)
    weight = torch.randn(70, 16, requires_grad=True)
    labels = torch.randint(0, 70, (1100,))
    loss, nll = projected_loss(hidden, weight, labels, 0.1)
    wanted = F.cross_entropy(hidden @ weight.T, labels, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(nll, F.cross_entropy(hidden @ weight.T, labels, reduction="sum"))
    found = torch.autograd.grad(loss, (hidden, weight))
    for a, b in zip(found, torch.autograd.grad(wanted, (hidden, weight)), strict=True):
        torch.testing.assert_close(a, b)


def test_batches_hold_every_pair_once_and_stay_within_the_tokens() -> None:
    pairs = [([3] * (1 + i % 17), [4 + i, *[4] * (i % 23)]) for i in range(300)]
    batches = train.make_batches(pairs, 200, seed=5)
    firsts = sorted(int(row[1]) for batch in batches for row in batch[2])
    assert firsts == sorted(4 + i for i in range(300))
    assert all(batch[2].numel() <= 200 for batch in batches)


def test_schedule_rises_to_one_and_falls_with_the_root() -> None:
    schedule = inverse_sqrt(100)
    assert schedule(49) == 0.5 and schedule(99) == 1
    assert schedule(399) == pytest.approx(0.5)


def test_the_rate_falls_to_nothing_over_the_cooldown() -> None:
    plain, cooled = inverse_sqrt(100), inverse_sqrt(100, steps=1000, cooldown=200)
    assert all(cooled(step) == plain(step) for step in range(0, 801, 50))
    assert cooled(900) == pytest.approx(plain(900) / 2)
    assert cooled(1000) == cooled(1200) == 0


def test_averaging(tmp_path: Path) -> None:
    for i in range(3):
        save_weights({"w": torch.full((2,), float(i))}, tmp_path / f"{i}.safetensors")
    assert average_weights(sorted(tmp_path.glob("*")))["w"].tolist() == [1.0, 1.0]


def test_a_run_resumes_and_leaves_a_loadable_model(tmp_path: Path, monkeypatch: object) -> None:
    words = ["a", "dog", "runs", "over", "the", "green", "grass", "with", "one", "red", "ball"]
    for split, count in (("train", 60), ("val", 8)):
        for side in ("en", "de"):
            lines = [" ".join(words[i % 5 : 5 + i % 6]) for i in range(count)]
            with gzip.open(tmp_path / f"{split}.{side}.gz", "wt") as file:
                file.write("\n".join(lines))
    options = ["--cpu", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--average", "2"]
    options += ["--vocab", "280", "--tokens", "300", "--variant", "integer-transformer"]
    for extra in (["--epochs", "1"], ["--epochs", "3", "--resume"]):
        monkeypatch.setattr(sys, "argv", ["train.py", *options, *extra])  # type: ignore[attr-defined]
        train.main()
    log = (tmp_path / "out" / "work" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["epoch", "1", "2", "3"]
    assert len(list((tmp_path / "out" / "work").glob("epoch-*"))) == 2
    assert load_transformer(tmp_path / "out").config.vocab_size == 280


def test_a_language_model_is_left_with_its_length(tmp_path: Path, monkeypatch: object) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join("one red ball runs over the green grass" for _ in range(200)))
    files = ["--train", str(text), "--valid", str(text), "--out", str(tmp_path / "out")]
    sizes = [
        "--vocab",
        "280",
        "--length",
        "16",
        "--tokens",
        "256",
        "--epochs",
        "1",
        "--lines",
        "60",
    ]
    monkeypatch.setattr(sys, "argv", ["train.py", "--cpu", *files, *sizes])  # type: ignore[attr-defined]
    train_language_model.main()
    assert load_transformer(tmp_path / "out").config.encoder_layers == 0
    assert json.loads((tmp_path / "out" / "task.json").read_text()) == {"length": 16}
