"""``intformer train``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from intformer.cli import console
from intformer.cli.loading import calibration, describe, load_source, origin_of
from intformer.cli.options import Json, Mean, Std, Weights, given
from intformer.cli.train_options import (
    BatchSize,
    Clip,
    CropName,
    Cutmix,
    Distill,
    Ema,
    Epochs,
    Flip,
    FloatOnly,
    FreezeAfter,
    LearnScales,
    Lr,
    Mixup,
    OutFile,
    RandAugment,
    Recipe,
    Resume,
    Samples,
    SaveEvery,
    ScaleRate,
    Seed,
    Smoothing,
    StopAfter,
    Temperature,
    Tensorboard,
    TrainingData,
    TrainingSource,
    ValidationData,
    Warmup,
    WeightDecay,
    Work,
    Workers,
)
from intformer.errors import InputError
from intformer.evaluate.origin import Origin

if TYPE_CHECKING:
    from accelerate import Accelerator

    from intformer.program import Program
    from intformer.train.options import Options
    from intformer.train.trainer import Trainer

TWIN, OPTIONS, REPORT = "twin.safetensors", "options.json", "report.html"

INTERRUPTED = 130


def train(
    context: typer.Context,
    source: TrainingSource,
    data: TrainingData,
    out: OutFile,
    val: ValidationData = None,
    recipe: Recipe = "intformer",
    float_only: FloatOnly = False,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    epochs: Epochs = 1.0,
    batch_size: BatchSize = 128,
    lr: Lr = 1e-4,
    weight_decay: WeightDecay = 0.0,
    warmup: Warmup = 0.05,
    smoothing: Smoothing = 0.1,
    mixup: Mixup = 0.0,
    cutmix: Cutmix = 0.0,
    rand_augment: RandAugment = "",
    crop: CropName = "auto",
    flip: Flip = True,
    distill: Distill = 0.9,
    temperature: Temperature = 1.0,
    ema: Ema = 0.0,
    clip: Clip = 1.0,
    learn_scales: LearnScales = False,
    scale_rate: ScaleRate = 10.0,
    freeze_after: FreezeAfter = 0.5,
    seed: Seed = 0,
    samples: Samples = 256,
    work: Work = None,
    resume: Resume = False,
    save_every: SaveEvery = 200,
    stop_after: StopAfter = None,
    workers: Workers = 1,
    tensorboard: Tensorboard = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model as the integer program that it is going to be (QAT).

    Every forward pass computes the integers of the program. Start with one epoch; the float model
    teaches (--distill). For 4 and 6 bits add --learn-scales.

    The same command with --resume goes on after Ctrl-C, at the very step, with the same result as
    an unbroken run. Several processes: torchrun --nproc-per-node 2 -m intformer.cli.main train ...

    \b
    Examples:
      intformer train zoo:vit_cifar10 --data cifar10/train.parquet --val cifar10/test.parquet \\
          -o vit.onnx --epochs 0.5
      intformer train zoo:vit_cifar10 --data cifar10/train.parquet --recipe w4a8.toml \\
          --learn-scales -o vit4.onnx
      intformer train timm:deit_small_patch16_224 --weights deit.safetensors \\
          --data imagenet/train --val imagenet/val -o deit.onnx --epochs 5 --lr 1e-5 \\
          --mixup 0.8 --cutmix 1 --rand-augment rand-m9-mstd0.5-inc1 --ema 0.999
    """
    from intformer.train.options import Options

    options = Options(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        smoothing=smoothing,
        mixup=mixup,
        cutmix=cutmix,
        rand_augment=rand_augment,
        crop=_crop(crop),
        flip=flip,
        distill=0.0 if float_only else distill,
        temperature=temperature,
        ema=ema,
        clip=clip,
        learn_scales=learn_scales,
        scale_rate=scale_rate,
        freeze_after=freeze_after,
        seed=seed,
    )
    job = Job(
        origin=origin_of(source, None, mean, std),
        data=data,
        val=val,
        recipe=recipe,
        float_only=float_only,
        weights=weights,
        samples=samples,
        out=out,
        work=work or out.with_suffix(".train"),
        options=options,
        resume=resume,
        workers=workers,
        stated=given(context),
    )
    job.run(save_every, stop_after, tensorboard=tensorboard, as_json=as_json)


def _crop(text: str) -> Any:
    from typing import get_args

    from intformer.train.options import Crop

    if text not in get_args(Crop):
        raise InputError(f"--crop {text}: use one of {', '.join(get_args(Crop))}")
    return text


@dataclass
class Job:
    """One run of the command."""

    origin: Origin
    data: str
    val: str | None
    recipe: str
    float_only: bool
    weights: Path | None
    samples: int
    out: Path
    work: Path
    options: Options
    resume: bool
    workers: int
    stated: set[str]  # options that stand on the command line, as ``--batch-size``

    @property
    def source(self) -> str:
        """The SOURCE."""
        return self.origin.source

    def run(
        self, save_every: int, stop_after: int | None, *, tensorboard: bool, as_json: bool
    ) -> None:
        """Train and write the result; ends with status 130 where the training is not complete."""
        start = time.perf_counter()
        console.check_writable(self.out)
        accelerator = _accelerator()
        if self.resume:
            self.options = self._stored_options()
        self.loaded = load_source(self.origin, self.weights)
        with console.stages() as progress:
            trainer = self._trainer(accelerator, progress, save_every, tensorboard)
            complete = trainer.run(resume=self.resume, stop_after=stop_after)
        if not complete:
            if accelerator.is_main_process:
                console.notice(f"stopped; the same command with --resume goes on ({self.work})")
            raise typer.Exit(INTERRUPTED)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self._finish(trainer, time.perf_counter() - start, as_json=as_json)

    def _stored_options(self) -> Options:
        """Of the training that goes on. What the command line says too must be the same."""
        from intformer.train.options import Options, command_line

        stored = Options.load(self.work / OPTIONS)
        for name, value in vars(self.options).items():
            known = getattr(stored, name)
            if command_line(name) in self.stated and value != known:
                raise InputError(
                    f"{command_line(name)} {value}: the training in {self.work} has {known}; "
                    "leave it out to resume, or train anew without --resume"
                )
        return stored

    def _trainer(
        self, accelerator: Accelerator, progress: Any, save_every: int, tensorboard: bool
    ) -> Trainer:
        from intformer.evaluate.datasets import open_images
        from intformer.evaluate.framing import Framing
        from intformer.train.augment import Augmentation, Mixing
        from intformer.train.data import Place, TrainingImages
        from intformer.train.student import Teacher, class_count
        from intformer.train.trainer import Trainer

        classes = class_count(self.loaded.graph)
        augmentation = Augmentation(Framing.of_source(self.loaded.preprocess), self.options)
        images = TrainingImages(
            open_images(self.data),
            augmentation,
            Mixing(self.options, classes),
            self.options,
            Place(accelerator.process_index, accelerator.num_processes),
            self.workers,
        )
        student = self._student(progress, accelerator.is_main_process and not self.resume)
        teacher = Teacher(self.loaded, accelerator.device) if self.options.distill else None
        return Trainer(
            accelerator,
            student,
            teacher,
            images,
            self.options,
            self.work,
            score=self._score if self.val else None,
            save_every=save_every,
            tensorboard=tensorboard,
            progress=progress if accelerator.is_main_process else None,
        )

    def _student(self, progress: Any, keep: bool) -> Any:
        """The model to train; ``keep`` what resuming needs, once nothing can fail any more."""
        from intformer.quantize.qat import load_twin, prepare, save_twin
        from intformer.train.student import FloatStudent

        if self.resume and not self.float_only:
            return load_twin(self.work / TWIN)
        student: Any = FloatStudent(self.loaded) if self.float_only else None
        if student is None:
            student = prepare(
                self.loaded,
                calibration(self.loaded, self.data, self.samples),
                self.recipe,
                learn_scales=self.options.learn_scales,
                progress=progress,
            )
        if keep:
            self.work.mkdir(parents=True, exist_ok=True)
            self.options.save(self.work / OPTIONS)
            if not self.float_only:
                save_twin(student, self.work / TWIN)
        return student

    def _score(self, student: Any) -> float:
        """Top-1 in percent of the integer program (or float module) on ``--val``."""
        from intformer.evaluate.accuracy import accuracy
        from intformer.evaluate.datasets import open_images
        from intformer.train.evaluate import float_accuracy

        assert self.val is not None
        images = open_images(self.val)
        if self.float_only:
            return float_accuracy(student, images, self.loaded)
        return accuracy(self._program(student), images).top1 or 0.0

    def _program(self, student: Any) -> Program:
        from intformer.quantize.qat import convert

        program = convert(student)
        describe(program, self.loaded, self.origin)
        return program

    def _finish(self, trainer: Trainer, seconds: float, *, as_json: bool) -> None:
        from intformer.quantize.qat import save_twin
        from intformer.train.log import read_log
        from intformer.train.report import write_training_report

        student = trainer.result
        log = read_log(self.work / "log.csv")
        with console.writing(self.out) as temporary:
            if self.float_only:
                student.save(temporary)
            else:
                save_twin(student, self.work / "trained.safetensors")
                program = self._program(student)
                program.save(temporary)
                write_training_report(self, program, log, self.work / REPORT)
        top1 = log[-1]["top1"] if log else None
        result = {
            "result": str(self.out),
            "work": str(self.work),
            "steps": trainer.images.steps,
            "top1": top1,
            "loss": log[-1]["loss"] if log else None,
            "seconds": round(seconds, 1),
        }
        if as_json:
            console.print_json(result)
            return
        shown = {k: v for k, v in result.items() if v is not None}
        console.output().print(console.facts("Trained", shown))


def _accelerator() -> Accelerator:
    """One process, or one of several that torchrun started."""
    import torch
    from accelerate import Accelerator

    return Accelerator(cpu=not torch.cuda.is_available())
