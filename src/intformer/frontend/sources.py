"""Model sources: ``zoo:NAME``, ``timm:NAME``, ``hf:FOLDER``, a folder or a float ``FILE.onnx``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intformer.errors import CaptureError
from intformer.frontend.capture import capture, name_logits
from intformer.frontend.hugging_face import ARCHITECTURES, capture_sequence_model
from intformer.frontend.hugging_face import preprocess_of as sequence_preprocess
from intformer.frontend.onnx_import import import_onnx
from intformer.frontend.preprocess import (
    ImagePreprocess,
    Preprocess,
    of_hugging_face_images,
    of_hugging_face_text,
    of_timm,
    read_json,
)
from intformer.frontend.sequence_source import capture_sequences, preprocess_sequences
from intformer.frontend.shapes import fixed
from intformer.frontend.weights import load_state, read_state
from intformer.ir.graph import Graph

FORMS = "zoo:NAME, timm:NAME, hf:FOLDER, FILE.onnx or the folder of a model like the zoo's"


@dataclass(frozen=True)
class Source:
    """A trained float model, ready to be quantized or compared with.

    Attributes:
        graph: float-stage graph; images enter as normalised float32 NCHW named ``pixels``.
        preprocess: what the raw inputs go through before the graph, ``None`` if unknown.
        module: the PyTorch module, ``None`` for ONNX files.
        kind: ``"zoo"``, ``"timm"``, ``"hf"`` or ``"onnx"``.
        name: the source without its kind.
    """

    graph: Graph
    preprocess: Preprocess | None
    module: nn.Module | None
    kind: str
    name: str


def load_source(
    source: str,
    weights: str | Path | None = None,
    outputs: Sequence[str] | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Source:
    """Load a model by its source text.

    Args:
        source: ``zoo:NAME`` (a folder in ``$INTFORMER_ZOO``, the checkout's ``zoo/`` or the
            package), ``timm:NAME``, ``hf:FOLDER`` (``ViTModel``, ``ViTForImageClassification``,
            ``BertModel``, ``GPT2LMHeadModel``, ``LlamaForCausalLM``, ``MarianMTModel``), a float
            ``FILE.onnx``, or a folder such as the zoo's.
        weights: for ``timm:``, a ``.safetensors`` or ``.pth`` file; else timm's pretrained weights.
        outputs: names of the outputs to keep; for ONNX, of any values, which cuts the model there.
        mean, std: image normalisation, in place of what the source states (ImageNet's for ONNX).

    Raises:
        CaptureError: the source cannot be found, read or captured; the text says which and why.
    """
    kind, _, name = source.partition(":")
    loader = LOADERS.get(kind)
    if source.endswith(".onnx") and loader is None:
        loader, kind, name = _load_onnx, "onnx", source
    if loader is None and (Path(source) / "config.json").is_file():
        loader, kind, name = _load_folder, "zoo", source
    if loader is None or not name:
        raise CaptureError(f"{source!r} is no model source; give {FORMS}")
    if weights is not None and kind != "timm":
        raise CaptureError(f"{source}: separate weights are for timm:NAME sources only")
    loaded = loader(name, Path(weights) if weights is not None else None, outputs)
    return _normalised(loaded, mean, std)


def _normalised(
    source: Source, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Source:
    if mean is None and std is None:
        return source
    if not isinstance(source.preprocess, ImagePreprocess):
        raise CaptureError(f"{source.name}: mean and std are for models that take images")
    known = source.preprocess
    for values in (mean, std):
        if values is not None and len(values) != len(known.mean):
            raise CaptureError(
                f"{source.name}: its images have {len(known.mean)} channels, so mean and std take "
                f"as many numbers, not {len(values)}"
            )
    if std is not None and min(std) <= 0:
        raise CaptureError(f"{source.name}: a std of {min(std)}; it must be positive")
    changed = replace(known, mean=tuple(mean or known.mean), std=tuple(std or known.std))
    return replace(source, preprocess=changed)


# -- zoo -------------------------------------------------------------------------------------------


def zoo_folders() -> list[Path]:
    """Where zoo models are looked for, in order."""
    package = Path(__file__).resolve().parents[1]
    chosen = os.environ.get("INTFORMER_ZOO")
    return [*([Path(chosen)] if chosen else []), package.parents[1] / "zoo", package / "_zoo"]


def _load_zoo(name: str, weights: Path | None, outputs: Sequence[str] | None) -> Source:
    places = [folder / name for folder in zoo_folders()]
    folder = next((p for p in places if (p / "config.json").is_file()), None)
    if folder is None:
        looked = ", ".join(str(p.parent) for p in places)
        raise CaptureError(f"zoo:{name}: no such model in {looked}; there is {_zoo_names()}")
    try:
        return replace(_load_folder(str(folder), None, outputs), name=name)
    except CaptureError as error:
        raise CaptureError(f"zoo:{name}: {error}") from error


def _load_folder(name: str, weights: Path | None, outputs: Sequence[str] | None) -> Source:
    """A model of ``intformer.models``: of images, or of sequences (their configuration says)."""
    from intformer.models import load_model, load_transformer

    folder = Path(name)
    try:
        if "variant" in read_json(folder / "config.json"):
            sequences = load_transformer(folder)
            preprocess = preprocess_sequences(folder, sequences.config)
            return Source(capture_sequences(sequences), preprocess, sequences, "zoo", name)
        model = load_model(folder)
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise CaptureError(f"{folder}: {_first_line(error)}") from error
    config = model.config
    framing = ImagePreprocess(
        (config.image_size, config.image_size), mean=config.mean, std=config.std
    )
    return _image_source(model, framing, outputs or ["logits"], "zoo", name)


def _zoo_names() -> str:
    found = {p.parent.name for z in zoo_folders() if z.is_dir() for p in z.glob("*/config.json")}
    return ", ".join(sorted(found)) or "none"


def _image_source(
    model: nn.Module, preprocess: ImagePreprocess, outputs: Sequence[str], kind: str, name: str
) -> Source:
    channels = len(preprocess.mean)
    example = torch.zeros(2, channels, *preprocess.size)
    graph = capture(model, (example,), names=["pixels"], outputs=outputs)
    return Source(graph, preprocess, model, kind, name)


# -- timm ------------------------------------------------------------------------------------------


def _load_timm(name: str, weights: Path | None, outputs: Sequence[str] | None) -> Source:
    timm = _import_timm()
    if not timm.is_model(name):
        similar = difflib.get_close_matches(name, timm.list_models(), 3)
        hint = f"; did you mean {', '.join(similar)}?" if similar else ""
        raise CaptureError(f"timm:{name}: timm has no such model{hint}")
    model = _timm_with_weights(timm, name, weights) if weights else _timm_pretrained(timm, name)
    preprocess = of_timm(timm.data.resolve_model_data_config(model))
    default = "logits" if model.num_classes else "features"
    return _image_source(model.eval(), preprocess, outputs or [default], "timm", name)


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise CaptureError(
            f"timm cannot be imported ({_first_line(error)}); install timm and torchvision"
        ) from error
    return timm


def _timm_with_weights(timm: Any, name: str, weights: Path) -> nn.Module:
    state = read_state(weights)
    head = state.get("head.bias")
    classes = {} if head is None else {"num_classes": len(head)}
    model: nn.Module = timm.create_model(name, pretrained=False, **classes)
    load_state(model, state, str(weights))
    return model


def _timm_pretrained(timm: Any, name: str) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub client raises many kinds of network and cache errors
        raise CaptureError(
            f"timm:{name}: its pretrained weights cannot be downloaded ({_first_line(error)}); "
            "give a checkpoint with --weights FILE"
        ) from error
    return model


# -- Hugging Face ----------------------------------------------------------------------------------

IMAGE_ARCHITECTURES = {
    "ViTModel": "last_hidden_state",
    "ViTForImageClassification": "logits",
}
TEXT_ARCHITECTURES = {"BertModel": "last_hidden_state"}


def _load_hugging_face(name: str, weights: Path | None, outputs: Sequence[str] | None) -> Source:
    folder = Path(name)
    config = read_json(folder / "config.json")
    if not config:
        raise CaptureError(f"hf:{name}: no config.json in this folder")
    known = IMAGE_ARCHITECTURES | TEXT_ARCHITECTURES | dict.fromkeys(ARCHITECTURES, "logits")
    stated = config.get("architectures") or []
    architecture = next((a for a in stated if a in known), None)
    if architecture is None:
        raise CaptureError(
            f"hf:{name}: the architecture {stated} is not supported; supported are "
            f"{', '.join(known)}"
        )
    model = _transformers_model(folder, architecture)
    wanted = outputs or [known[architecture]]
    if architecture in IMAGE_ARCHITECTURES:
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        preprocess = of_hugging_face_images(folder, (height, width))
        return _image_source(model, preprocess, wanted, "hf", name)
    if architecture in ARCHITECTURES:
        text = sequence_preprocess(folder, model, architecture)
        return Source(capture_sequence_model(model, architecture), text, model, "hf", name)
    return _text_source(model, folder, wanted, name)


def _transformers_model(folder: Path, architecture: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise CaptureError(f"hf:{folder}: install transformers ({_first_line(error)})") from error
    transformers.utils.logging.disable_progress_bar()
    try:
        loader = getattr(transformers, architecture)
        return loader.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    except (
        Exception
    ) as error:  # transformers raises OSError, ValueError, RuntimeError, KeyError ...
        raise CaptureError(f"hf:{folder}: cannot be loaded: {_first_line(error)}") from error


def _text_source(model: Any, folder: Path, outputs: Sequence[str], name: str) -> Source:
    limit = int(model.config.max_position_embeddings)
    ids = torch.zeros(2, min(8, limit), dtype=torch.int64)
    example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    graph = capture(model, example, outputs=outputs, limits={"S": limit})
    return Source(graph, of_hugging_face_text(folder, limit), model, "hf", name)


# -- ONNX ------------------------------------------------------------------------------------------


def _load_onnx(name: str, weights: Path | None, outputs: Sequence[str] | None) -> Source:
    graph = import_onnx(name, outputs=outputs)
    images = [x for x, t in graph.inputs.items() if t.dtype == "float32" and len(t.shape) == 4]
    if len(images) != 1 or len(graph.inputs) != 1:
        return Source(graph, None, None, "onnx", name)
    _rename_input(graph, images[0], "pixels")
    name_logits(graph)
    channels, height, width = (fixed(d) for d in graph.inputs["pixels"].shape[1:])
    preprocess = ImagePreprocess((height, width))
    if channels != len(preprocess.mean):
        preprocess = replace(preprocess, mean=(0.5,) * channels, std=(0.5,) * channels)
    return Source(graph, preprocess, None, "onnx", name)


def _rename_input(graph: Graph, old: str, new: str) -> None:
    graph.types[new] = graph.inputs[new] = graph.inputs.pop(old)
    if new != old:
        del graph.types[old]
    for node in graph.nodes:
        node.inputs = tuple(new if x == old else x for x in node.inputs)


Loader = Callable[[str, Path | None, Sequence[str] | None], Source]

LOADERS: dict[str, Loader] = {
    "zoo": _load_zoo,
    "timm": _load_timm,
    "hf": _load_hugging_face,
    "onnx": _load_onnx,
}


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
