"""``intformer.quantize``: a float model, samples and a recipe become an integer program."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from intformer.errors import InputError, RecipeError
from intformer.ir.graph import Graph
from intformer.program import Program
from intformer.quantize.approx.search import Search
from intformer.quantize.decide import Calibration, Progress
from intformer.quantize.finish import finish
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.lowering import Lowered, lower
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.params import Decisions
from intformer.quantize.recipe import Recipe, load_recipe
from intformer.quantize.samples import Batches, float_inputs

if TYPE_CHECKING:
    from torch import nn

    from intformer.frontend.sources import Source

SEARCHED = 8
"""Inputs on which ``"auto"`` compares programs."""

IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def quantize(
    model: nn.Module | Graph | Source,
    calibration: Iterable[Any],
    recipe: str | Path | dict[str, Any] | Recipe = "intformer",
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    progress: Progress | None = None,
) -> Program:
    """Quantize a trained model without retraining.

    Args:
        model: a module, a float graph, or what ``frontend.load_source`` returns.
        calibration: batches of raw inputs, as the program will take them: dictionaries of arrays
            (``pixels`` uint8 [N, H, W, 3]; ``input_ids`` and ``attention_mask`` int64 [N, S]) or
            bare arrays for one input. 32 to 512 samples in all are enough; labels are not needed.
        recipe: a name (``intformer``, ``naive``), a TOML or JSON file, a dictionary or ``Recipe``.
        mean, std: image normalisation to fold into the program, per channel for pixels scaled to
            0..1; taken from the source if it knows, else ImageNet's.
        progress: called with (stage, done, total).

    Returns:
        A verified program.

    Raises:
        IntformerError: the model, the data or the recipe cannot be used; the message says why.
    """
    program, _ = quantize_with_meaning(
        model, calibration, recipe, mean=mean, std=std, progress=progress
    )
    return program


@dataclass(frozen=True)
class Calibrated:
    """A float graph after calibration: equalised, with all decisions made.

    ``typical`` is the mean over batches of the (smallest, largest) value, for the values whose
    range follows the data.
    """

    graph: Graph
    decisions: Decisions
    pixels: Pixels | None
    recipe: Recipe
    typical: dict[str, tuple[float, float]]


def calibrated(
    model: nn.Module | Graph | Source,
    calibration: Iterable[Any],
    recipe: Recipe,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """Capture, equalise, observe and decide; arguments as for ``quantize``."""
    samples = list(calibration)
    graph, pixels = float_graph(model, samples)
    _check_finite(graph)
    _check_overrides(graph, recipe)
    if mean is not None and std is not None:
        pixels = Pixels(mean, std)
    batches = Batches(graph, samples, pixels)
    run = Calibration(graph, recipe, batches, pixels, progress or (lambda *_: None))
    equalized, decisions = run.decide()
    equalized.metadata["altered"] = json.dumps(run.altered)
    _search(run, batches, decisions)
    run.correct_operators(decisions)
    return Calibrated(equalized, decisions, pixels, recipe, run.typical(decisions))


def _search(run: Calibration, batches: Batches, decisions: Decisions) -> None:
    """Choose the operators that the recipe leaves open, on the first few samples."""
    if not run.watch.has_open_layers:
        return
    raw = {name: array[:SEARCHED] for name, array in batches.raw[0].items()}
    with torch.no_grad():
        exact = FloatRunner(run.graph).outputs(float_inputs(run.graph, raw, run.pixels))
    Search(
        run.graph,
        decisions,
        run.pixels,
        run.chooser,
        raw,
        {name: value.double().numpy() for name, value in exact.items()},
        run.recipe.auto_seconds,
        run.progress,
    ).run()


def _check_finite(graph: Graph) -> None:
    for name, array in graph.constants.items():
        if not np.isfinite(array).all():
            raise InputError(f"'{name}' holds NaN or infinity: is this the right checkpoint?")


def _check_overrides(graph: Graph, recipe: Recipe) -> None:
    names = list(dict.fromkeys(node.name for node in graph if node.name))
    for pattern in recipe.overrides:
        if not any(re.search(pattern, name) for name in names):
            near = difflib.get_close_matches(pattern, names, 3, 0.3) or names[:3]
            raise RecipeError(
                f"override '{pattern}' matches no layer of this model; near it: {', '.join(near)}"
            )


def quantize_with_meaning(
    model: nn.Module | Graph | Source,
    calibration: Iterable[Any],
    recipe: str | Path | dict[str, Any] | Recipe = "intformer",
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    progress: Progress | None = None,
) -> tuple[Program, Lowered]:
    """As ``quantize``, also returning which integer value stands for which float value."""
    found = calibrated(
        model, calibration, load_recipe(recipe), mean=mean, std=std, progress=progress
    )
    lowered = lower(found.graph, found.decisions, pixels=found.pixels)
    finished = finish(lowered, found.recipe, found.graph, found.decisions)
    return Program(finished.graph), finished


def float_graph(model: Any, samples: list[Any]) -> tuple[Graph, Pixels | None]:
    """The float graph of any model, and how its images are normalised."""
    if isinstance(model, Graph):
        return model, IMAGENET
    if hasattr(model, "graph") and hasattr(model, "preprocess"):
        preprocess = model.preprocess
        if hasattr(preprocess, "mean"):
            return model.graph, Pixels(tuple(preprocess.mean), tuple(preprocess.std))
        return model.graph, None
    if not samples:
        raise InputError("calibration data is empty: give at least one batch (32 to 512 samples)")
    from intformer.frontend.capture import capture_like

    return capture_like(model, samples[0]), IMAGENET
