"""What quantization-aware training costs: time of a training step against a float step.

    python benchmarks/training.py [--model zoo:vit_cifar10] [--batch 64] [--steps 10] [--threads 1]

Steps of the float module and of its twin (fixed, moving and learned scales; with the float model as
teacher, which `intformer train` has by default) alternate; the table has the median of each and the
median of the ratios. An epoch costs what its steps cost.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median
from typing import Any

import torch

from intformer.cli.loading import calibration, load_source
from intformer.evaluate.data_files import find_data
from intformer.quantize.qat import prepare
from intformer.train.student import FloatStudent, Teacher


def step(student: Any, optimizer: torch.optim.Optimizer, pixels: Any, answers: Any) -> float:
    """Seconds of one step; ``answers`` are labels, or what a teacher says to the pixels."""
    start = time.perf_counter()
    targets = answers(torch.from_numpy(pixels)).softmax(1) if callable(answers) else answers
    loss = torch.nn.functional.cross_entropy(student(pixels=pixels)["logits"], targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="zoo:vit_cifar10")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    source = load_source(args.model, None, None)
    data = str(find_data("cifar10/train.parquet") or "photographs")
    batches = list(calibration(source, data, args.batch * 2, args.batch))
    (pixels,) = batches[0].values()
    frozen, moving = prepare(source, batches), prepare(source, batches).train()
    learned = prepare(source, batches, learn_scales=True).train()
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    kinds: dict[str, tuple[Any, Any]] = {
        "float": (FloatStudent(source).train(), labels),
        "QAT, fixed ranges": (frozen, labels),
        "QAT, moving ranges": (moving, labels),
        "QAT, learned scales": (learned, labels),
        "QAT, moving ranges, with the teacher": (moving, Teacher(source, torch.device("cpu"))),
    }
    optimizers = {k: torch.optim.AdamW(m.parameters(), lr=1e-6) for k, (m, _) in kinds.items()}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for round_ in range(args.steps + 1):
        for name, (student, answers) in kinds.items():
            seconds = step(student, optimizers[name], pixels, answers)
            if round_:
                times[name].append(seconds)
    print(f"{args.model}, batch {len(pixels)}, {args.threads} threads, {args.steps} steps")
    print("| training | ms per step | relative to float |\n|---|---|---|")
    for name, own in times.items():
        ratio = median(a / b for a, b in zip(own, times["float"], strict=True))
        print(f"| {name} | {1000 * median(own):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
