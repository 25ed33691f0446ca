"""Train and evaluate the zoo model ``vit_cifar10``.

The same script runs on a CPU and on a GPU; Hugging Face Accelerate places the model, handles mixed
precision and saves the resumable state. Run ``python zoo/vit_cifar10/train.py --help``.

What makes a good score affordable on one CPU core:

* random token dropping: early epochs encode a quarter, later half, and only the last epochs all
  image tokens (the stem's overlapping windows see the whole image anyway);
* Muon for the encoder's matrices (AdamW for everything else), which needs fewer steps;
* bfloat16 autocast and batched matrix products instead of the fused CPU attention kernel.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import MethodType

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from intformer.models.vit import Attention, VisionTransformer, ViTConfig

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
HELD_OUT = 2000
PAD = 4
# (progress of the training at which the stage ends, share of the image tokens that is kept)
TOKEN_STAGES = ((0.28, 0.25), (0.82, 0.5), (1.0, 1.0))
CUTMIX_UNTIL = 0.85
CSV_FIELDS = ("epoch", "seconds", "lr", "tokens", "loss", "held_out_raw", "held_out_ema")

console = Console()


@dataclass
class Split:
    """Images (N, H, W, 3) uint8 and labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


# ---------------------------------------------------------------------------------------- data


def read_split(path: Path, pad: int = 0) -> Split:
    """Decode a parquet file of JPEG images into memory, reflecting ``pad`` pixels at the edges.

    Raises:
        OSError: the file is missing or holds an image that cannot be decoded.
    """
    table = pq.read_table(path)
    decoded = [
        np.asarray(Image.open(io.BytesIO(item["bytes"])).convert("RGB"))
        for item in table["image"].to_pylist()
    ]
    images = np.pad(np.stack(decoded), ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    return Split(torch.from_numpy(images), torch.tensor(table["label"].to_pylist()))


class Normaliser:
    """Turns uint8 NHWC batches into normalised float NCHW batches (channels-last in memory)."""

    def __init__(self, config: ViTConfig, device: torch.device) -> None:
        self.mean = 255 * torch.tensor(config.mean, device=device)
        self.inv_std = 1 / (255 * torch.tensor(config.std, device=device))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise ``images`` (B, H, W, 3) uint8 to (B, 3, H, W) float32."""
        return ((images.float() - self.mean) * self.inv_std).permute(0, 3, 1, 2)


def random_crops(padded: Tensor, index: Tensor, size: int) -> Tensor:
    """Randomly shifted and mirrored crops of ``padded[index]``: (B, size, size, 3) uint8."""
    batch, device = len(index), padded.device
    shift = torch.randint(0, 2 * PAD + 1, (2, batch, 1), device=device)
    line = torch.arange(size, device=device)
    mirror = torch.rand(batch, 1, device=device) < 0.5
    rows = shift[0] + line
    cols = shift[1] + torch.where(mirror, size - 1 - line, line)
    return padded[index[:, None, None], rows[:, :, None], cols[:, None, :]]


def cutout(images: Tensor, side: int) -> Tensor:
    """Set one random square per image (B, 3, H, W) to zero, the mean colour."""
    batch, _, height, width = images.shape
    device = images.device
    centre = torch.rand(2, batch, 1, device=device)
    rows = (torch.arange(height, device=device) - centre[0] * height).abs() < side / 2
    cols = (torch.arange(width, device=device) - centre[1] * width).abs() < side / 2
    return images.masked_fill((rows[:, :, None] & cols[:, None, :])[:, None], 0.0)


def cutmix(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Paste one random box of the reversed batch into the batch and mix the targets alike."""
    height, width = images.shape[2:]
    cut = math.sqrt(1 - torch.rand(()).item())
    box_h, box_w = int(height * cut), int(width * cut)
    top = int(torch.randint(0, height - box_h + 1, ()).item())
    left = int(torch.randint(0, width - box_w + 1, ()).item())
    images = images.clone()
    box = (..., slice(top, top + box_h), slice(left, left + box_w))
    images[box] = images.flip(0)[box]
    share = box_h * box_w / (height * width)
    return images, targets * (1 - share) + targets.flip(0) * share


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


class TokenDropper(nn.Module):
    """Wraps a model so that it encodes only a random subset of the image tokens."""

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__()
        self.vit = vit
        self.keep = vit.config.num_patches

    def forward(self, images: Tensor) -> Tensor:
        """Classify ``images`` (B, 3, H, W) from ``self.keep`` random tokens: (B, classes)."""
        x = self.vit.embed(images)
        patches = self.vit.config.num_patches
        if self.keep < patches:
            order = torch.rand(x.shape[0], patches, device=x.device).argsort(1)[:, : self.keep]
            index = F.pad(order + 1, (1, 0))  # index 0, the class token, always stays
            x = x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))
        return self.vit.encode(x)


class Ema(nn.Module):
    """Exponential moving average of a model's parameters and buffers."""

    updates: Tensor

    def __init__(self, model: VisionTransformer, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.average = VisionTransformer(model.config).requires_grad_(False)
        self.average.load_state_dict(model.state_dict())
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model: VisionTransformer) -> None:
        """Move the average towards ``model``; quickly at first, so the start is forgotten."""
        self.updates += 1
        step = int(self.updates)
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        new = model.state_dict()
        floats = [
            (a, new[k]) for k, a in self.average.state_dict().items() if a.is_floating_point()
        ]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], weight)


# ------------------------------------------------------------------------------------ training


def build_optimizers(model: nn.Module, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the encoder's matrices, AdamW for the rest (or for all, ``--optimizer adamw``)."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if ".blocks." in n and p.ndim == 2]
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


def kept_tokens(progress: float, patches: int) -> int:
    """Number of image tokens to encode at ``progress`` (0..1) of the training."""
    for end, share in TOKEN_STAGES:
        if progress < end:
            return round(share * patches)
    return patches


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

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.config = ViTConfig()
        on_cpu = args.cpu or not torch.cuda.is_available()
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if args.bf16 else "no")
        set_seed(args.seed)
        self._load_data()
        self._build_model()

    def _load_data(self) -> None:
        """Decode the training images and set the last ``HELD_OUT`` of them aside."""
        device = self.accelerator.device
        train = read_split(self.args.data / "cifar10" / "train.parquet", PAD)
        images, labels = train.images.to(device), train.labels.to(device)
        held = images[-HELD_OUT:, PAD:-PAD, PAD:-PAD]
        self.train = Split(images[:-HELD_OUT], labels[:-HELD_OUT])
        self.held_out = Split(held, labels[-HELD_OUT:])
        self.normalise = Normaliser(self.config, device)

    def _build_model(self) -> None:
        """Create model, EMA, optimizers and schedulers and register them for checkpoints."""
        args, acc = self.args, self.accelerator
        wrapped = TokenDropper(VisionTransformer(self.config))
        # The type stubs lack this keyword-only form of Module.to.
        wrapped = wrapped.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.vit = wrapped.vit
        if acc.device.type == "cpu":
            for module in self.vit.modules():
                if isinstance(module, Attention):
                    module.forward = MethodType(batched_attention, module)  # type: ignore[method-assign]
        self.ema = Ema(self.vit, args.ema_decay).to(acc.device)
        self.steps = len(self.train) // args.batch
        self.progress = 0.0
        optimizers = build_optimizers(wrapped, args)
        self.model = acc.prepare(wrapped)
        self.optimizers = [acc.prepare(o) for o in optimizers]
        self.schedulers = [
            acc.prepare(LambdaLR(o, lambda _: lr_factor(self.progress))) for o in optimizers
        ]
        acc.register_for_checkpointing(self.ema)
        self.work: Path = args.work
        self.work.mkdir(parents=True, exist_ok=True)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented images (B, 3, H, W) and soft targets (B, classes) for ``index`` (B,)."""
        crops = random_crops(self.train.images, index, self.config.image_size)
        images = cutout(self.normalise(crops), self.args.cutout)
        targets = F.one_hot(self.train.labels[index], len(self.config.classes)).float()
        if self.progress < CUTMIX_UNTIL and torch.rand(()).item() < self.args.cutmix:
            images, targets = cutmix(images, targets)
        return images, targets

    def step(self, index: Tensor) -> Tensor:
        """One optimisation step; returns the detached loss."""
        images, targets = self.batch(index)
        loss = F.cross_entropy(self.model(images), targets, label_smoothing=self.args.smoothing)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, scheduler in zip(self.optimizers, self.schedulers, strict=True):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        self.ema.update(self.vit)
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
        wrapped = self.accelerator.unwrap_model(self.model)
        wrapped.keep = kept_tokens(self.progress, self.config.num_patches)

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
        keep = self.accelerator.unwrap_model(self.model).keep
        values = (number + 1, round(seconds, 1), round(lr, 7), keep, round(loss, 4))
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
            raw = accuracy(self.vit, self.held_out, self.normalise)
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
        best = self.ema.average if ema >= raw else self.vit
        save_weights(best, self.args.out / "model.safetensors")
        self.config.save(self.args.out / "config.json")
        device = self.accelerator.device
        test = read_split(self.args.data / "cifar10" / "test.parquet")
        test = Split(test.images.to(device), test.labels.to(device))
        for name, model in (("raw", self.vit), ("ema", self.ema.average)):
            console.print(f"test top-1 {name}: {accuracy(model, test, self.normalise):.2f} %")
        console.print(f"exported {'ema' if best is not self.vit else 'raw'} weights")


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state of ``model`` to a safetensors file, float32, dense row-major tensors."""
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})


def evaluate(args: argparse.Namespace) -> float:
    """Print and return the test top-1 (percent, float32) of the weights in ``args.out``."""
    config = ViTConfig.load(args.out / "config.json")
    model = VisionTransformer(config)
    model.load_state_dict(load_file(args.out / "model.safetensors"))
    device = torch.device("cuda" if torch.cuda.is_available() and not args.cpu else "cpu")
    test = read_split(args.data / "cifar10" / "test.parquet")
    test = Split(test.images.to(device), test.labels.to(device))
    top1 = accuracy(model.eval().to(device), test, Normaliser(config, device))
    count = sum(p.numel() for p in model.parameters())
    console.print(f"test top-1: {top1:.2f} % of {len(test)} images, {count:,} parameters")
    return top1


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    data = Path(os.environ.get("INTFORMER_DATA", PROJECT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description="Train or evaluate the zoo model vit_cifar10.")
    add = parser.add_argument
    add("--data", type=Path, default=data, help="folder that holds cifar10/*.parquet")
    add("--out", type=Path, default=HERE, help="folder of model.safetensors and config.json")
    add("--work", type=Path, default=HERE / "work", help="folder for checkpoints and the log")
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
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=0, help="CPU threads; 0 keeps PyTorch's choice")
    add("--bf16", action="store_true", help="bfloat16 autocast")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--resume", action="store_true", help="continue from the state in --work")
    add(
        "--evaluate", action="store_true", help="only score the exported weights on the test images"
    )
    return parser.parse_args(argv)


def main() -> None:
    """Command line entry point."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.evaluate:
        evaluate(args)
    else:
        Trainer(args).run()


if __name__ == "__main__":
    main()
