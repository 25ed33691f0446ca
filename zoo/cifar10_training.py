"""Train and score the zoo's CIFAR-10 models; each model's ``train.py`` says which and how.

The same code runs on a CPU and on a GPU; Hugging Face Accelerate places the model, handles mixed
precision and saves the resumable state.

What makes a good score affordable on one CPU core:

* Muon for the encoder's matrices (AdamW for everything else), which needs fewer steps;
* random token dropping where the model allows it: early epochs encode a quarter, later half, and
  only the last epochs all image tokens (the stem's overlapping windows see the whole image anyway);
* a teacher that is asked once per image, not once per step;
* bfloat16 autocast and batched matrix products instead of the fused CPU attention kernel.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MethodType

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from common.images import PAD, Normaliser, Split, cutmix, cutout, random_crops, read_split
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from intformer.models import ImageModel, load_model
from intformer.models.vit import Attention, VisionTransformer

PROJECT = Path(__file__).resolve().parents[1]
HELD_OUT = 2000
# (progress of the training at which the stage ends, share of the image tokens that is kept)
TOKEN_STAGES = ((0.28, 0.25), (0.82, 0.5), (1.0, 1.0))
CUTMIX_UNTIL = 0.85
MATRICES = r"\.(blocks|downsample)\..*\.weight$"
CSV_FIELDS = ("epoch", "seconds", "lr", "tokens", "loss", "held_out_raw", "held_out_ema")

ModelBuilder = Callable[[], ImageModel]

console = Console()


# --------------------------------------------------------------------------------------- model


def batched_attention(self: Attention, x: Tensor) -> Tensor:
    """Same function as ``Attention.forward``, written as two batched matrix products.

    On a CPU the backward pass of the fused kernel takes longer than all linear layers together at
    these sizes; this form is about 1.5 times as fast for a whole training step.
    """
    batch, tokens, dim = x.shape
    qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim)
    qkv = qkv.permute(2, 0, 3, 1, 4).reshape(3, batch * self.num_heads, tokens, self.head_dim)
    q, k, v = qkv.unbind(0)
    scores = torch.bmm(q * self.head_dim**-0.5, k.transpose(1, 2))
    x = torch.bmm(scores.softmax(-1).to(v.dtype), v)
    x = x.reshape(batch, self.num_heads, tokens, self.head_dim)
    out: Tensor = self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))
    return out


class Heads(nn.Module):
    """Wraps a model so that it gives the logits of each of its classifiers.

    A vision transformer encodes only a random subset of ``share`` of its image tokens.
    """

    def __init__(self, net: ImageModel) -> None:
        super().__init__()
        self.net = net
        self.share = 1.0

    def forward(self, images: Tensor) -> list[Tensor]:
        """Classify ``images`` (B, 3, H, W): one (B, classes) for each classifier."""
        if not isinstance(self.net, VisionTransformer):
            return [self.net(images)]
        x, config = self.net.embed(images), self.net.config
        keep, first = round(self.share * config.num_patches), config.prefix_tokens
        if keep < config.num_patches:
            order = torch.rand(x.shape[0], config.num_patches, device=x.device).argsort(1)
            prefix = torch.arange(first, device=x.device).expand(x.shape[0], -1)
            index = torch.cat([prefix, order[:, :keep] + first], dim=1)
            x = x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))
        return self.net.head_logits(x)


class Ema(nn.Module):
    """Exponential moving average of a model's parameters and buffers."""

    updates: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards ``model``; quickly at first, so the start is forgotten."""
        self.updates += 1
        step = int(self.updates)
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        new = model.state_dict()
        floats = [
            (a, new[k]) for k, a in self.average.state_dict().items() if a.is_floating_point()
        ]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], weight)


@torch.no_grad()
def teach(folder: Path, images: Tensor) -> Tensor:
    """What the model in ``folder`` says about ``images`` (N, H, W, 3): logits (N, classes).

    It is asked once about each image, not about each crop of it, and the answers are kept in its
    ``work`` folder.
    """
    path = folder / "work" / "train_logits.safetensors"
    if not path.is_file():
        teacher = load_model(folder).to(images.device)
        normalise = Normaliser(teacher.config, images.device)
        logits = torch.cat([teacher(normalise(x)).float() for x in torch.split(images, 500)])
        path.parent.mkdir(exist_ok=True)
        save_file({"logits": logits.cpu()}, path)
    return load_file(path)["logits"]


def distillation_loss(
    heads: list[Tensor], target: Tensor, taught: Tensor | None, smoothing: float
) -> Tensor:
    """Cross-entropy with the labels and, if there is a teacher, as much with what it says.

    The distillation token of a model that has one learns from the teacher, its class token from the
    labels (Touvron et al., arXiv 2012.12877, section 4); a single classifier learns from both.
    """
    loss = F.cross_entropy(heads[0], target, label_smoothing=smoothing)
    if taught is None:
        return loss
    return (loss + F.cross_entropy(heads[-1], taught)) / 2


# ------------------------------------------------------------------------------------ training


def build_optimizers(model: nn.Module, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the encoder's matrices, AdamW for the rest (or for all, ``--optimizer adamw``)."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if re.search(MATRICES, n) and p.ndim == 2]
    taken = {id(p) for p in matrices}
    others = [p for _, p in named if id(p) not in taken]
    groups: list[dict[str, object]] = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if args.optimizer == "adamw":
        groups.append({"params": matrices, "weight_decay": args.weight_decay})
        return [torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99))]
    muon = torch.optim.Muon(
        matrices, lr=args.lr, weight_decay=args.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.99))]


def lr_factor(progress: float, warmup: float = 0.06) -> float:
    """Linear warm-up, then half a cosine down to zero, for ``progress`` in 0..1."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def kept_tokens(progress: float) -> float:
    """Share of the image tokens to encode at ``progress`` (0..1) of the training."""
    return next((share for end, share in TOKEN_STAGES if progress < end), 1.0)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split, normalise: Normaliser, batch: int = 250) -> float:
    """Top-1 of ``model`` on ``split`` in percent, in the model's own precision."""
    was_training = model.training
    model.eval()
    hits = 0
    for images, labels in zip(
        torch.split(split.images, batch), torch.split(split.labels, batch), strict=True
    ):
        hits += int((model(normalise(images)).argmax(1) == labels).sum())
    model.train(was_training)
    return 100 * hits / len(split)


class Trainer:
    """Everything that one training run needs, prepared by Accelerate."""

    def __init__(self, args: argparse.Namespace, build: ModelBuilder) -> None:
        self.args = args
        on_cpu = args.cpu or not torch.cuda.is_available()
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if args.bf16 else "no")
        set_seed(args.seed)
        net = build()
        if args.start:
            net.load_state_dict(load_file(args.start / "model.safetensors"))
        self.config = net.config
        self.work: Path = args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self._load_data()
        self._prepare(net)

    def _load_data(self) -> None:
        """Decode the training images, set the last ``HELD_OUT`` aside and ask the teacher."""
        device = self.accelerator.device
        train = read_split(self.args.data / "cifar10" / "train.parquet", PAD)
        images, labels = train.images.to(device), train.labels.to(device)
        held = images[-HELD_OUT:, PAD:-PAD, PAD:-PAD]
        self.train = Split(images[:-HELD_OUT], labels[:-HELD_OUT])
        self.held_out = Split(held, labels[-HELD_OUT:])
        self.normalise = Normaliser(self.config, device)
        self.taught = self._taught().to(device) if self.args.teacher else None

    def _taught(self) -> Tensor:
        """The teacher's targets (N, classes): its labels, or its probabilities if soft."""
        with self.accelerator.autocast():
            logits = teach(self.args.teacher, self.train.images[:, PAD:-PAD, PAD:-PAD])
        if self.args.soft:
            return logits.softmax(-1)
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()

    def _prepare(self, net: ImageModel) -> None:
        """Create EMA, optimizers and schedulers and register them for checkpoints."""
        args, acc = self.args, self.accelerator
        # The type stubs lack this keyword-only form of Module.to.
        wrapped = Heads(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net = wrapped.net
        if acc.device.type == "cpu":
            for module in net.modules():
                if isinstance(module, Attention):
                    module.forward = MethodType(batched_attention, module)  # type: ignore[method-assign]
        self.ema = Ema(net, args.ema_decay).to(acc.device)
        self.steps = len(self.train) // args.batch
        self.progress = 0.0
        optimizers = build_optimizers(wrapped, args)
        self.model = acc.prepare(wrapped)
        self.optimizers = [acc.prepare(o) for o in optimizers]
        self.schedulers = [
            acc.prepare(LambdaLR(o, lambda _: lr_factor(self.progress))) for o in optimizers
        ]
        acc.register_for_checkpointing(self.ema)

    def batch(self, index: Tensor) -> tuple[Tensor, ...]:
        """Augmented images (B, 3, H, W) and soft targets (B, classes) for ``index`` (B,).

        The teacher's targets, if there is one, come third.
        """
        crops = random_crops(self.train.images, index, self.config.image_size)
        images = cutout(self.normalise(crops), self.args.cutout)
        targets = [F.one_hot(self.train.labels[index], len(self.config.classes)).float()]
        if self.taught is not None:
            targets.append(self.taught[index])
        if self.progress < CUTMIX_UNTIL and torch.rand(()).item() < self.args.cutmix:
            return cutmix(images, *targets)
        return images, *targets

    def step(self, index: Tensor) -> Tensor:
        """One optimisation step; returns the detached loss."""
        images, target, *taught = self.batch(index)
        heads = self.model(images)
        loss = distillation_loss(heads, target, (taught or [None])[0], self.args.smoothing)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, scheduler in zip(self.optimizers, self.schedulers, strict=True):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        self.ema.update(self.net)
        return loss.detach()

    def _advance(self, done: float) -> None:
        """Set the progress of the training, 0..1, when ``done`` epochs (with fraction) are done.

        With ``--minutes`` the clock counts instead, so that a run on a shared machine ends in time
        with a learning rate of zero however slow it gets.
        """
        progress = done / self.args.epochs
        if self.args.minutes:
            spent = (time.monotonic() - self.started) / (60 * self.args.minutes)
            progress = self.first_progress + (1 - self.first_progress) * spent
        self.progress = min(progress, 1.0)
        if self.args.drop_tokens:
            self.accelerator.unwrap_model(self.model).share = kept_tokens(self.progress)

    def epoch(self, number: int, bar: Progress) -> float:
        """Train for one epoch (``number`` counts from 0); returns the mean loss."""
        self.model.train()
        order = torch.randperm(len(self.train), device=self.accelerator.device)
        task = bar.add_task(f"epoch {number + 1}", total=self.steps)
        losses = torch.zeros((), device=self.accelerator.device)
        count = 0
        for index in torch.split(order[: self.steps * self.args.batch], self.args.batch):
            self._advance(number + count / self.steps)
            if self.progress >= 1:
                break
            losses += self.step(index)
            count += 1
            bar.advance(task)
        bar.remove_task(task)
        return float(losses) / max(count, 1)

    def run(self) -> None:
        """Train from the start, or from the last complete epoch with ``--resume``."""
        number = self._resume() if self.args.resume else 0
        self.started = time.monotonic()
        self.first_progress = number / self.args.epochs
        self._advance(number)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            while self.progress < 1:
                start = time.perf_counter()
                lr = self.optimizers[0].param_groups[0]["lr"]
                loss = self.epoch(number, bar)
                self._finish_epoch(number, time.perf_counter() - start, lr, loss)
                number += 1
                self._advance(number)
        self._export()

    def _finish_epoch(self, number: int, seconds: float, lr: float, loss: float) -> None:
        """Score the held-out images, log a line and save the state."""
        share = self.accelerator.unwrap_model(self.model).share
        values = (number + 1, round(seconds, 1), round(lr, 7), share, round(loss, 4))
        row = dict(zip(CSV_FIELDS, (*values, *self._held_out_scores()), strict=True))
        path = self.work / "log.csv"
        with path.open("a" if number else "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CSV_FIELDS)
            if not number:
                writer.writeheader()
            writer.writerow(row)
        console.print(" ".join(f"{k}={v}" for k, v in row.items()), soft_wrap=True)
        self.accelerator.save_state(str(self.work / "state"))
        (self.work / "progress.json").write_text(json.dumps({"epochs_done": number + 1}))
        save_weights(self.ema.average, self.work / "ema.safetensors")

    def _held_out_scores(self) -> tuple[float, float]:
        """Top-1 of the raw and of the averaged weights on the held-out images."""
        with self.accelerator.autocast():
            raw = accuracy(self.net, self.held_out, self.normalise)
            ema = accuracy(self.ema.average, self.held_out, self.normalise)
        return raw, ema

    def _resume(self) -> int:
        """Load the saved state; returns the number of epochs that are done."""
        self.accelerator.load_state(str(self.work / "state"))
        done: int = json.loads((self.work / "progress.json").read_text())["epochs_done"]
        return done

    def _export(self) -> None:
        """Write the better of raw and averaged weights and report both on the test images."""
        raw, ema = self._held_out_scores()
        best = self.ema.average if ema >= raw else self.net
        save_weights(best, self.args.out / "model.safetensors")
        self.config.save(self.args.out / "config.json")
        device = self.accelerator.device
        test = read_split(self.args.data / "cifar10" / "test.parquet")
        test = Split(test.images.to(device), test.labels.to(device))
        for name, model in (("raw", self.net), ("ema", self.ema.average)):
            console.print(f"test top-1 {name}: {accuracy(model, test, self.normalise):.2f} %")
        console.print(f"exported {'ema' if best is not self.net else 'raw'} weights")


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state of ``model`` to a safetensors file, float32, dense row-major tensors."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})


def evaluate(args: argparse.Namespace) -> float:
    """Print and return the test top-1 (percent, float32) of the weights in ``args.out``."""
    model = load_model(args.out)
    device = torch.device("cuda" if torch.cuda.is_available() and not args.cpu else "cpu")
    test = read_split(args.data / "cifar10" / "test.parquet")
    test = Split(test.images.to(device), test.labels.to(device))
    top1 = accuracy(model.to(device), test, Normaliser(model.config, device))
    count = sum(p.numel() for p in model.parameters())
    console.print(f"test top-1: {top1:.2f} % of {len(test)} images, {count:,} parameters")
    return top1


def parser(name: str, folder: Path, defaults: Mapping[str, object]) -> argparse.ArgumentParser:
    """The command line of a model's ``train.py``, which changes some defaults."""
    data = Path(os.environ.get("INTFORMER_DATA", PROJECT.parent / "shared" / "data"))
    result = argparse.ArgumentParser(description=f"Train or evaluate the zoo model {name}.")
    add = result.add_argument
    add("--data", type=Path, default=data, help="folder that holds cifar10/*.parquet")
    add("--out", type=Path, default=folder, help="folder of model.safetensors and config.json")
    add("--work", type=Path, default=folder / "work", help="folder for checkpoints and the log")
    add("--epochs", type=int, default=29)
    add("--minutes", type=float, default=0, help="fit what is left of the schedule to this time")
    add("--batch", type=int, default=256)
    add("--lr", type=float, default=2e-3)
    add("--weight-decay", type=float, default=0.1)
    add("--optimizer", choices=("muon", "adamw"), default="muon")
    add("--ema-decay", type=float, default=0.998)
    add("--smoothing", type=float, default=0.1, help="label smoothing")
    add("--cutmix", type=float, default=0.3, help="probability of CutMix per batch")
    add("--cutout", type=int, default=8, help="side of the erased square in pixels")
    add("--drop-tokens", action=argparse.BooleanOptionalAction, default=False)
    add("--teacher", type=Path, help="folder of the model to learn from")
    add("--soft", action="store_true", help="learn the teacher's probabilities, not its labels")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=0, help="CPU threads; 0 keeps PyTorch's choice")
    add("--bf16", action="store_true", help="bfloat16 autocast")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--start", type=Path, help="folder of a trained model whose weights to begin with")
    add("--resume", action="store_true", help="continue from the state in --work")
    add(
        "--evaluate", action="store_true", help="only score the exported weights on the test images"
    )
    result.set_defaults(**defaults)
    return result


def main(folder: Path, build: ModelBuilder, defaults: Mapping[str, object]) -> None:
    """Entry point of a model's ``train.py``: train what ``build`` makes, or score ``folder``."""
    args = parser(folder.name, folder, defaults).parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.evaluate:
        evaluate(args)
    else:
        Trainer(args, build).run()
