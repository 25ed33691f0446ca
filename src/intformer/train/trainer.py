"""The training loop, on Accelerate: one process or several, stopped and resumed at any step."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from intformer.errors import InputError
from intformer.quantize.decide import Progress
from intformer.train.data import TrainingImages
from intformer.train.log import Log
from intformer.train.options import Options
from intformer.train.student import Teacher

STATE, PROGRESS = "state", "progress.json"

Score = Callable[[nn.Module], float]
"""Top-1 in percent of a student."""


class Trainer:
    """Trains a student on a folder's worth of state.

    Args:
        accelerator: made by the caller, before anything that depends on the process.
        student: gives ``{"logits": ...}`` for raw pixels (``Twin`` or ``FloatStudent``).
        teacher: the float model, or None for labels alone.
        images: the data, by step.
        options: everything that decides the result.
        work: folder of state and log.
        score: evaluates the student at the end of each epoch; None never does.
        save_every: steps between two saved states; 0: only at the end and when interrupted.
        log_every: steps between two lines of the log.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        student: Any,
        teacher: Teacher | None,
        images: TrainingImages,
        options: Options,
        work: Path,
        *,
        score: Score | None = None,
        save_every: int = 200,
        log_every: int = 10,
        tensorboard: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.accelerator, self.student, self.teacher = accelerator, student, teacher
        self.images, self.options, self.work = images, options, work
        self.score, self.save_every, self.log_every = score, save_every, log_every
        self.tensorboard, self.progress = tensorboard, progress or (lambda *_: None)
        optimizer = torch.optim.AdamW(_groups(student, options), lr=options.learning_rate)
        student.to(accelerator.device)
        self.average = _average(student, options)
        self.model, self.optimizer = accelerator.prepare(student, optimizer)
        if self.average is not None:
            accelerator.register_for_checkpointing(self.average)
        self._stop = False

    @property
    def result(self) -> Any:
        """What the training made: the average of the weights if there is one, else the student."""
        return self.student if self.average is None else self.average.module

    def run(self, *, resume: bool = False, stop_after: int | None = None) -> bool:
        """Train to the end, or ``stop_after`` a number of steps; True if it is complete.

        An interrupt (Ctrl-C, SIGTERM) ends the step in progress and saves the state.

        Raises:
            InputError: there is nothing to resume, or the loss is no longer a number.
        """
        first = self._load() if resume else 0
        last = self.images.steps if stop_after is None else min(self.images.steps, stop_after)
        main = self.accelerator.is_main_process
        self.log = Log(self.work, first, tensorboard=self.tensorboard) if main else None
        self._mark, self._marked_step = time.perf_counter(), first
        done = first
        with self._interruptible():
            for step, pixels, targets in self.images.batches(first):
                if step >= last or self._stopped():
                    break
                loss, norm = self._step(step, pixels, targets)
                done = step + 1
                self._after(done, loss, norm)
        complete = done >= self.images.steps
        self._save(done)
        return complete

    def _step(self, step: int, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self._set_rates(step)
        self.model.train()
        if step >= self.options.freeze_after * self.images.steps:
            self.student.freeze()
        loss = self._loss(pixels, targets)
        self.accelerator.backward(loss)
        norm = torch.zeros(())
        if self.options.clip:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.student)
        return loss.detach(), norm

    def _loss(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """(1 - distill)·cross-entropy + distill·T²·KL(teacher || student)."""
        logits = self.model(pixels)["logits"]
        share, heat = self.options.distill, self.options.temperature
        loss = F.cross_entropy(logits, targets.to(logits.device))
        if self.teacher is None or share == 0:
            return loss
        wanted = F.log_softmax(self.teacher(pixels) / heat, -1)
        found = F.log_softmax(logits / heat, -1)
        distance = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
        return (1 - share) * loss + share * heat**2 * distance

    def _set_rates(self, step: int) -> None:
        rate = self.options.learning_rate * self.options.rate(step, self.images.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]

    def _after(self, done: int, loss: Tensor, norm: Tensor) -> None:
        if not torch.isfinite(loss + norm.to(loss.device)):
            found = f"loss {float(loss)}, gradient {float(norm)}"
            raise InputError(f"step {done}: {found}; try a smaller learning rate")
        self.progress("training", done, self.images.steps)
        ends_epoch = done % self.images.per_epoch == 0 or done == self.images.steps
        if done % self.log_every == 0 or ends_epoch:
            self._write(done, loss, norm, ends_epoch)
        if self.save_every and done % self.save_every == 0:
            self._save(done)

    def _write(self, done: int, loss: Tensor, norm: Tensor, ends_epoch: bool) -> None:
        value = float(self.accelerator.reduce(loss, "mean"))
        if self.log is None:
            return
        now = time.perf_counter()
        images = (done - self._marked_step) * self.options.batch_size * self.images.place.count
        score = None
        if ends_epoch and self.score is not None:
            score = self.score(self.result)
        self.log.write(
            step=done,
            epoch=round(done / self.images.per_epoch, 4),
            loss=value,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            gradient_norm=float(norm),
            top1=score,
            images_per_second=round(images / max(now - self._mark, 1e-9), 2),
        )
        self._mark, self._marked_step = time.perf_counter(), done

    # -- interruption and state --------------------------------------------------------------------

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first interrupt waits for the end of the step, a second one acts at once."""

        before: dict[int, Any] = {}

        def stop(number: int, frame: object) -> None:
            self._stop = True
            signal.signal(number, before[number])

        try:
            for caught in (signal.SIGINT, signal.SIGTERM):
                before[caught] = signal.signal(caught, stop)
        except ValueError:  # not the main thread: nobody can interrupt
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stopped(self) -> bool:
        """Whether any process was interrupted."""
        if self.accelerator.num_processes == 1:
            return self._stop
        flag = torch.tensor(float(self._stop), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _save(self, done: int) -> None:
        """Write the state beside the old one, then put it in its place."""
        fresh = self.work / f"{STATE}.new"
        if self.accelerator.is_main_process:
            shutil.rmtree(fresh, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(fresh))
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        (fresh / PROGRESS).write_text(json.dumps({"steps": done, "of": self.images.steps}))
        shutil.rmtree(self.work / STATE, ignore_errors=True)
        fresh.rename(self.work / STATE)

    def _load(self) -> int:
        try:
            done = json.loads((self.work / STATE / PROGRESS).read_text())
        except (OSError, ValueError):
            raise InputError(f"{self.work}: no training to resume here") from None
        if done["of"] != self.images.steps:
            raise InputError(
                f"{self.work}: its training has {done['of']} steps, this one {self.images.steps}; "
                "resume with the same data, batch size and number of processes"
            )
        self.accelerator.load_state(str(self.work / STATE))
        return int(done["steps"])


def _groups(student: Any, options: Options) -> list[dict[str, Any]]:
    """Parameter groups; ``times`` multiplies the learning rate."""
    scales = student.scale_parameters()
    known = {id(parameter) for parameter in scales}
    others = [p for p in student.parameters() if p.requires_grad and id(p) not in known]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
        {"params": scales, "weight_decay": 0.0, "times": options.scale_rate},
    ]
    return [{"times": 1.0, **group} for group in groups if group["params"]]


def _average(student: nn.Module, options: Options) -> AveragedModel | None:
    if not options.ema:
        return None
    follow = get_ema_multi_avg_fn(options.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(student, multi_avg_fn=follow)
