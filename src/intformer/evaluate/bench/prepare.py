"""From a program or a model source to a job: program, float model in every form, inputs."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intformer.errors import InputError, IntformerError
from intformer.evaluate.bench.job import CALIBRATION, FLOAT, RAW, Feed, Job
from intformer.evaluate.origin import Origin
from intformer.ir.graph import Graph, TensorType

if TYPE_CHECKING:
    from intformer.frontend.sources import Source
    from intformer.program import Program

SEED = 7
SAMPLES = 32
"""Inputs for calibration."""
PATCHES = 14
"""Random pictures are this many random squares a side, with noise: flat noise has no structure."""
VOCABULARY = 1000
"""Token ids of programs that do not say how many they know."""
FOR_SPEED = {"observer": "minmax", "bias_correction": False}
"""The recipe for random weights: the same operators, widths and groups, found sooner."""
AT_ONCE = {**FOR_SPEED, "rounding": "nearest"}
"""Found at once, where ``weight_groups`` are given or make little difference: few rows."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Model:
    """What is measured: a float model, an integer program, or both."""

    name: str
    source: Source | None
    program: Path | None


def random_inputs(graph: Graph, count: int, tokens: int, seed: int = SEED) -> Feed:
    """Raw inputs as the integer form of ``graph`` takes them; masks keep every token.

    Raises:
        InputError: an input is neither an image nor token ids.
    """
    random = np.random.default_rng(seed)
    return {
        name: _random_input(graph, name, kind, count, tokens, random)
        for name, kind in graph.inputs.items()
    }


def _random_input(
    graph: Graph,
    name: str,
    kind: TensorType,
    count: int,
    tokens: int,
    random: np.random.Generator,
) -> NDArray[Any]:
    if len(kind.shape) == 2:
        length = kind.shape[1] if isinstance(kind.shape[1], int) else tokens
        if "mask" in name or "type" in name:
            return np.full((count, length), int("mask" in name), np.int64)
        low, high = _id_range(graph, name)
        return random.integers(low, high + 1, (count, length))
    if len(kind.shape) != 4:
        raise InputError(f"input '{name}' is neither an image nor token ids: no inputs for it")
    height, width, channels = image_shape(name, kind)
    return _pictures(random, count, height, width, channels)


def image_shape(name: str, kind: TensorType) -> tuple[int, int, int]:
    """Height, width, channels of an image input, channels last or (float graphs) first.

    Raises:
        InputError: a size is not fixed.
    """
    sizes = kind.shape[1:]
    if not all(isinstance(size, int) for size in sizes):
        raise InputError(f"input '{name}' has no fixed size: {kind.shape}")
    a, b, c = (int(size) for size in sizes)
    return (b, c, a) if kind.dtype == "float32" else (a, b, c)


def _id_range(graph: Graph, name: str) -> tuple[int, int]:
    stated = graph.input_ranges.get(name)
    if stated is not None:
        return max(stated[0], 1), stated[1]
    tables = [
        graph.types[node.inputs[0]].shape[0]
        for node in graph.nodes
        if node.op in ("embedding", "gather") and name in node.inputs
    ]
    sizes = [size for size in tables if isinstance(size, int)]
    return 1, min(sizes, default=VOCABULARY) - 1


def _pictures(
    random: np.random.Generator, count: int, height: int, width: int, channels: int
) -> NDArray[np.uint8]:
    coarse = random.integers(0, 226, (count, PATCHES, PATCHES, channels))
    rows = np.arange(height) * PATCHES // height
    columns = np.arange(width) * PATCHES // width
    noise = random.integers(0, 30, (count, height, width, channels))
    return (coarse[:, rows][:, :, columns] + noise).astype(np.uint8)


def make_job(
    folder: Path,
    model: Model,
    *,
    batch: int,
    tokens: int,
    recipe: str | dict[str, Any] = "intformer",
    also: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Job, NDArray[Any] | None]:
    """Write everything the engines need into ``folder``.

    Args:
        folder: empty and private.
        model: the program is made from the source if there is none.
        batch: largest batch size.
        tokens: length of sequences.
        recipe: how the source is quantized.
        also: recipes of further programs of the source.
        progress: called with (stage, done, total).

    Returns:
        The job, and the float model's output for the inputs (None without a source).
    """
    program = model.program or folder / "program.onnx"
    if model.source is not None and model.program is None:
        _quantize(model.source, program, tokens, recipe, progress)
    graph = _load(program).graph
    output = next(iter(graph.outputs))
    text = all(len(kind.shape) == 2 for kind in graph.inputs.values())
    variants = _variants(folder, model, tokens, also, progress)
    job = Job(folder, program.resolve(), output, text, variants)
    job.save()
    raw = random_inputs(graph, batch, tokens)
    job.save_feed(RAW, raw)
    return job, None if model.source is None else _float_side(job, model.source, raw, tokens)


def _variants(
    folder: Path, model: Model, tokens: int, recipes: Sequence[str], progress: Progress | None
) -> dict[str, Path]:
    """A program for each further recipe."""
    made: dict[str, Path] = {}
    for number, name in enumerate(recipes):
        if model.source is None:
            raise InputError("--also needs the float model; name it with --against")
        label = Path(name).stem
        made[label] = folder / f"variant-{number}.onnx"
        _quantize(model.source, made[label], tokens, recipe_for(model, name), progress)
    return made


def recipe_for(model: Model, name: str | None) -> str | dict[str, Any]:
    """The recipe ``name``; for random weights without the searches that only find accuracy."""
    if model.source is None or model.source.kind != "arch":
        return name or "intformer"
    from intformer.quantize.recipe import load_recipe

    return {**json.loads(load_recipe(name or "intformer").to_json()), **FOR_SPEED}


def _load(file: Path) -> Program:
    from intformer.program import load

    return load(file)


def _quantize(
    source: Source, file: Path, tokens: int, recipe: str | dict[str, Any], progress: Progress | None
) -> None:
    from intformer.quantize.api import quantize

    samples = random_inputs(source.graph, SAMPLES, tokens, SEED + 1)
    pieces = [{k: v[i : i + 8] for k, v in samples.items()} for i in range(0, SAMPLES, 8)]
    quantize(source, pieces, recipe, progress=progress).save(file)


def _float_side(job: Job, source: Source, raw: Feed, tokens: int) -> NDArray[Any]:
    """Inputs, calibration samples and files for peers; returns the float model's output."""
    from intformer.quantize.float_run import FloatRunner

    feed = _as_floats(source, raw)
    job.save_feed(FLOAT, feed)
    calibration = random_inputs(source.graph, SAMPLES, tokens, SEED + 1)
    job.save_feed(CALIBRATION, _as_floats(source, calibration))
    _write_models(job, source, feed)
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in feed.items()}
    with torch.inference_mode():
        made = FloatRunner(source.graph).run(tensors)
    return np.asarray(made[source.graph.outputs[job.output]].numpy())


def _as_floats(source: Source, raw: Feed) -> Feed:
    from intformer.quantize.api import float_graph
    from intformer.quantize.samples import float_inputs

    graph, pixels = float_graph(source, [raw])
    return {name: tensor.numpy() for name, tensor in float_inputs(graph, raw, pixels).items()}


def _write_models(job: Job, source: Source, feed: Feed) -> None:
    if source.module is None:
        _copy_onnx(job, source)
        return
    import torch

    torch.save(source.module, job.module)
    try:
        _export(job, source.module, feed)
    except Exception as error:  # exporters raise whatever they like
        text = " ".join(str(error).split())[:200]
        (job.folder / f"{job.onnx.name}.problem").write_text(f"no ONNX export: {text}")


def _copy_onnx(job: Job, source: Source) -> None:
    """The ONNX file of the source, cut at the output that the program has."""
    import onnx

    model = onnx.load(source.name)
    names = [value.name for value in model.graph.output]
    wanted = [job.output] if job.output in _values(model) else names[:1]
    if wanted != names:
        inputs = [value.name for value in model.graph.input]
        model = onnx.utils.Extractor(model).extract_model(inputs, wanted)
    onnx.save(model, str(job.onnx))


def _values(model: Any) -> set[str]:
    return {name for node in model.graph.node for name in node.output}


def _export(job: Job, module: Any, feed: Feed) -> None:
    """ONNX with any batch size, sequences of the measured length."""
    import torch

    tensors = {name: torch.from_numpy(array[:2]) for name, array in feed.items()}
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = [{0: batch} for _ in tensors]
    with _quiet():
        torch.onnx.export(
            module,
            () if job.text else tuple(tensors.values()),
            str(job.onnx),
            kwargs=tensors if job.text else None,
            dynamic_shapes=dict(zip(tensors, shapes, strict=True)) if job.text else tuple(shapes),
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages and on itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def source_of(program: Program) -> Source | None:
    """The float model that a program was made from, if it is still there."""
    origin = Origin.of_program(program.graph)
    try:
        return origin.load() if origin.source else None
    except (IntformerError, ImportError):
        return None
