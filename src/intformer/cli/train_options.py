"""Options of ``intformer train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TrainingSource = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="The trained float image model: zoo:NAME, timm:NAME, hf:FOLDER or a float .onnx file.",
    ),
]
TrainingData = Annotated[
    str,
    typer.Option(metavar="DATA", help="Labelled images: a folder per class, or Parquet."),
]
OutFile = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="OUT", help="The program (.onnx); with --float .safetensors."
    ),
]
ValidationData = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Images to report top-1 on; they choose nothing."),
]
Recipe = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="As for quantize; says the bit widths.")
]
FloatOnly = Annotated[
    bool, typer.Option("--float", help="Train the float model itself, no quantization.")
]
Epochs = Annotated[float, typer.Option(help="Passes over the data; 0.25 is a quarter.")]
BatchSize = Annotated[int, typer.Option(help="Images per step and process.")]
Lr = Annotated[float, typer.Option(help="Peak learning rate (AdamW, cosine).")]
WeightDecay = Annotated[float, typer.Option(help="Of matrices alone.")]
Warmup = Annotated[float, typer.Option(help="Share of the steps with a rising rate.")]
Smoothing = Annotated[float, typer.Option(help="Label smoothing.")]
Mixup = Annotated[float, typer.Option(help="Mixup alpha (timm); 0.8 is usual.")]
Cutmix = Annotated[float, typer.Option(help="CutMix alpha (timm); 1 is usual.")]
RandAugment = Annotated[
    str, typer.Option(metavar="TEXT", help="RandAugment (timm): rand-m9-mstd0.5-inc1.")
]
CropName = Annotated[
    str, typer.Option(help="auto, pad (small images), resized (photographs) or none.")
]
Flip = Annotated[bool, typer.Option(help="Mirror half of the images.")]
Distill = Annotated[
    float, typer.Option(help="Weight of the float model's answers against the labels.")
]
Temperature = Annotated[float, typer.Option(help="Of the distillation.")]
Ema = Annotated[
    float, typer.Option(help="Decay of the average of weights that is kept, e.g. 0.99.")
]
Clip = Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.")]
LearnScales = Annotated[
    bool, typer.Option("--learn-scales", help="Learn the scales (LSQ); for 4 and 6 bits.")
]
ScaleRate = Annotated[float, typer.Option(help="Rate of scales, times --lr.")]
FreezeAfter = Annotated[float, typer.Option(help="Share of the steps after which ranges stay.")]
Seed = Annotated[int, typer.Option(help="Of order and augmentation.")]
Samples = Annotated[int, typer.Option(min=1, help="Images for the first calibration.")]
Work = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="State, log and report; OUT without suffix + .train."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what --work holds.")]
SaveEvery = Annotated[int, typer.Option(help="Steps between saved states; 0: at the end.")]
StopAfter = Annotated[
    int | None, typer.Option(help="Stop (and save) after this step; resume later.")
]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode images.")]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Write TensorBoard events beside log.csv.")
]
