"""The training loop that the zoo's sequence models share."""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MethodType

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.lr_scheduler import LambdaLR

CSV_FIELDS = ("epoch", "seconds", "steps", "lr", "loss", "valid_nll")

console = Console()

Batch = tuple[Tensor, ...]


@dataclass
class Task:
    """What a script teaches the loop.

    ``batches(epoch)`` lists the batches of an epoch in training order, each a tuple of int64
    tensors; ``valid`` those of the validation text. ``loss(model, batch)`` returns (loss to train,
    negative log-likelihood, number of tokens), the first two summed over the tokens.
    """

    batches: Callable[[int], list[Batch]]
    valid: list[Batch]
    loss: Callable[[nn.Module, Batch], tuple[Tensor, Tensor, int]]


def inverse_sqrt(warmup: int, steps: int = 0, cooldown: int = 0) -> Callable[[int], float]:
    """Linear warm-up to 1, then the inverse square root of the step (Vaswani et al., 5.3).

    Over the last ``cooldown`` of ``steps`` the rate falls linearly to nothing besides, which a
    short training rewards.
    """

    def factor(step: int) -> float:
        rate = min((step + 1) / warmup, (warmup / (step + 1)) ** 0.5)
        return rate * min(1.0, max(steps - step, 0) / cooldown) if cooldown else rate

    return factor


def share_dropout_noise(model: nn.Module, dtype: torch.dtype) -> None:
    """Let dropout take its noise from one pool at random offsets.

    Drawing fresh noise takes an eighth of a training step on a CPU; the pool is 16 million draws.
    """
    pools: dict[float, Tensor] = {}

    def forward(self: nn.Dropout, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        if self.p not in pools:
            pools[self.p] = ((torch.rand(1 << 24) >= self.p).float() / (1 - self.p)).to(dtype)
        pool = pools[self.p]
        start = int(torch.randint(0, pool.numel() - x.numel(), ()))
        return x * pool[start : start + x.numel()].view(x.shape)

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]


def save_weights(state: dict[str, Tensor], path: Path) -> None:
    """Write ``state`` to a safetensors file, dense row-major tensors."""
    dense = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    save_file(dense, path, metadata={"format": "pt"})


def average_weights(paths: list[Path]) -> dict[str, Tensor]:
    """Mean of the weights in ``paths`` (safetensors of one model), in float32."""
    total: dict[str, Tensor] = {}
    for path in paths:
        for name, value in load_file(path).items():
            total[name] = total.get(name, 0) + value.double() / len(paths)
    return {name: value.float() for name, value in total.items()}


def build_optimizers(model: nn.Module, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between embedding and output, Adam for the rest (or for all)."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
    muon = args.optimizer == "muon"
    taken = {id(p) for p in matrices} if muon else set()
    adam = torch.optim.AdamW(
        [p for _, p in named if id(p) not in taken],
        lr=args.lr,
        betas=(0.9, 0.98),
        eps=1e-9,
        weight_decay=args.weight_decay,
    )
    if not muon:
        return [adam]
    first = torch.optim.Muon(
        matrices, lr=args.lr, weight_decay=args.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [first, adam]


class Trainer:
    """One training run, prepared by Accelerate; resumable after every epoch."""

    def __init__(self, args: argparse.Namespace, model: nn.Module, task: Task) -> None:
        self.args, self.task = args, task
        on_cpu = args.cpu or not torch.cuda.is_available()
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if args.bf16 else "no")
        set_seed(args.seed)
        if on_cpu:
            share_dropout_noise(model, torch.bfloat16 if args.bf16 else torch.float32)
        self.raw = model
        optimizers = build_optimizers(model, args)
        self.model = self.accelerator.prepare(model)
        self.optimizers = [self.accelerator.prepare(o) for o in optimizers]
        length = len(task.batches(0))
        rate = inverse_sqrt(args.warmup, args.epochs * length, args.cooldown * length)
        self.schedules = [self.accelerator.prepare(LambdaLR(o, rate)) for o in optimizers]
        self.work: Path = args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.steps = 0

    def _on_device(self, batches: list[Batch]) -> Iterator[Batch]:
        """Batches of this process, on its device; every process gets equally many."""
        index, count = self.accelerator.process_index, self.accelerator.num_processes
        for batch in batches[index : len(batches) - len(batches) % count : count]:
            yield tuple(part.to(self.accelerator.device) for part in batch)

    def step(self, batch: Batch) -> tuple[Tensor, int]:
        """One optimisation step; returns the batch's negative log-likelihood and its tokens."""
        # The fused CPU kernel's backward pass is slower than plain products at these lengths.
        with sdpa_kernel(SDPBackend.MATH), self.accelerator.autocast():
            loss, nll, tokens = self.task.loss(self.model, batch)
        self.accelerator.backward(loss / tokens)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        return nll, tokens

    def epoch(self, number: int, bar: Progress) -> float:
        """Train for one epoch (``number`` counts from 0); returns the mean log-likelihood loss."""
        self.model.train()
        batches = self.task.batches(number)
        task = bar.add_task(f"epoch {number + 1}", total=len(batches))
        total = torch.zeros((), device=self.accelerator.device)
        tokens = 0
        for batch in self._on_device(batches):
            nll, count = self.step(batch)
            total += nll
            tokens += count
            self.steps += 1
            bar.advance(task, self.accelerator.num_processes)
            if self._out_of_time():
                break
        bar.remove_task(task)
        return float(total) / tokens

    def _out_of_time(self) -> bool:
        limit = self.args.minutes
        return bool(limit) and time.monotonic() - self.started > 60 * limit

    @torch.no_grad()
    def valid_nll(self) -> float:
        """Mean negative log-likelihood of a validation token, in nats."""
        self.model.eval()
        total, tokens = 0.0, 0
        for batch in self.task.valid:
            parts = tuple(part.to(self.accelerator.device) for part in batch)
            with self.accelerator.autocast():
                _, nll, count = self.task.loss(self.model, parts)
            total += float(nll)
            tokens += count
        return total / tokens

    def run(self) -> None:
        """Train from the start, or from the last complete epoch with ``--resume``."""
        number = self._resume() if self.args.resume else 0
        self.started = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            while number < self.args.epochs and not self._out_of_time():
                start = time.perf_counter()
                loss = self.epoch(number, bar)
                number += 1
                self._finish_epoch(number, time.perf_counter() - start, loss)

    def _finish_epoch(self, number: int, seconds: float, loss: float) -> None:
        """Score the validation text, log a line and save the state."""
        lr = self.optimizers[0].param_groups[0]["lr"]
        scores = (round(loss, 4), round(self.valid_nll(), 4))
        values = (number, round(seconds, 1), self.steps, round(lr, 7), *scores)
        row = dict(zip(CSV_FIELDS, values, strict=True))
        self.accelerator.save_state(str(self.work / "state"))
        if self.accelerator.is_main_process:
            self._log(row)
            save_weights(self.raw.state_dict(), self.work / f"epoch-{number:03}.safetensors")
            for old in self.checkpoints()[: -self.args.average]:
                old.unlink()
            progress = {"epochs": number, "steps": self.steps}
            (self.work / "progress.json").write_text(json.dumps(progress))

    def _log(self, row: dict[str, float]) -> None:
        path = self.work / "log.csv"
        first = row["epoch"] == 1 or not path.exists()
        with path.open("w" if first else "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CSV_FIELDS)
            if first:
                writer.writeheader()
            writer.writerow(row)
        console.print(" ".join(f"{k}={v}" for k, v in row.items()), soft_wrap=True)

    def checkpoints(self) -> list[Path]:
        """The kept epoch checkpoints, oldest first."""
        return sorted(self.work.glob("epoch-*.safetensors"))

    def _resume(self) -> int:
        """Load the saved state; returns the number of epochs that are done."""
        self.accelerator.load_state(str(self.work / "state"))
        progress = json.loads((self.work / "progress.json").read_text())
        self.steps = progress["steps"]
        epochs: int = progress["epochs"]
        return epochs


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Options of the loop; scripts add their own beside them."""
    add = parser.add_argument
    add("--size", choices=("tiny", "base", "big"), default="tiny", help="configuration")
    add("--variant", choices=("softmax", "integer-transformer"), default="softmax")
    add("--out", type=Path, required=True, help="folder of the finished model")
    add("--work", type=Path, help="folder for checkpoints and log.csv (default: OUT/work)")
    add("--epochs", type=int, default=60)
    add("--minutes", type=float, default=0, help="stop after this time; 0 means no limit")
    add("--tokens", type=int, default=3000, help="target tokens in a batch")
    add("--lr", type=float, default=4e-3, help="peak learning rate")
    add("--optimizer", choices=("muon", "adam"), default="muon")
    add("--warmup", type=int, default=300, help="steps until the peak")
    add("--cooldown", type=int, default=0, help="last epochs, in which the rate falls to nothing")
    add("--weight-decay", type=float, default=1e-4)
    add("--smoothing", type=float, default=0.1, help="label smoothing")
    add("--dropout", type=float, default=0.3)
    add("--average", type=int, default=8, help="epoch checkpoints that make the final weights")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=0, help="CPU threads; 0 keeps PyTorch's choice")
    add("--bf16", action="store_true", help="bfloat16 autocast")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--resume", action="store_true", help="continue from the state in --work")
