"""PyTorch float32, eager and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from intformer.evaluate.bench.engines.base import Engine, Run
from intformer.evaluate.bench.job import Array, Feed, Job


def _module(job: Job, threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    # The file was written a moment ago by the process that started this one.
    return torch.load(job.module, weights_only=False).eval()


def _runner(module: Any, job: Job) -> Run:
    import torch

    def run(feed: Feed) -> Array:
        tensors = {name: torch.from_numpy(array) for name, array in feed.items()}
        with torch.inference_mode():
            made = module(**tensors) if job.text else module(*tensors.values())
        return np.asarray(_tensor(made, job.output).numpy())

    return run


def _tensor(made: Any, name: str) -> Any:
    """The output called ``name`` of whatever a module returns."""
    if hasattr(made, name):
        return getattr(made, name)
    return made[0] if isinstance(made, tuple | list) else made


def _eager(job: Job, threads: int) -> Run:
    return _runner(_module(job, threads), job)


def _compiled(job: Job, threads: int) -> Run:
    import torch
    import torch._inductor.config as inductor

    inductor.freezing = True  # weights as constants: what makes Inductor fastest on CPUs
    module = _module(job, threads)
    return _runner(torch.compile(module, dynamic=False), job)


ENGINES = (
    Engine("torch", "PyTorch eager", "float32", ("torch",), _eager, needs=("module.pt",)),
    Engine(
        "torch-compile", "PyTorch compiled", "float32", ("torch",), _compiled, needs=("module.pt",)
    ),
)
