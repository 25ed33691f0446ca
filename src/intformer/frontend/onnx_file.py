"""Opening float ONNX files: parsing, and external data that stays in the model's folder."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.external_data_helper import (
    ExternalDataInfo,
    load_external_data_for_tensor,
    uses_external_data,
)

from intformer.errors import CaptureError


def load_model(path: str | Path) -> onnx.ModelProto:
    """Parse an ONNX file and read the external data it names.

    Raises:
        CaptureError: the file is missing or no ONNX model, or external data lies elsewhere.
    """
    path = Path(path)
    if not path.is_file():
        raise CaptureError(f"{path}: no such file")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise CaptureError(f"{path}: not an ONNX model ({type(error).__name__})") from error
    if not model.graph.node:
        raise CaptureError(f"{path}: not an ONNX model, or one without operators")
    for tensor in _tensors(model):
        if uses_external_data(tensor):
            _load_external(path, tensor)
    return model


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    in_nodes = [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    return [*model.graph.initializer, *in_nodes]


def _load_external(model: Path, tensor: onnx.TensorProto) -> None:
    """Read one tensor's data; a location is a plain file below the model's folder, not a link."""
    location = ExternalDataInfo(tensor).location
    folder = model.parent.resolve()
    target = folder / location
    inside = not os.path.isabs(location) and target.resolve() == Path(os.path.normpath(target))
    if not inside or not target.resolve().is_relative_to(folder):
        raise CaptureError(
            f"{model}: the data of {tensor.name!r} lies outside the model's folder ({location!r})"
        )
    if not target.is_file() or target.stat().st_nlink > 1:
        raise CaptureError(
            f"{model}: the data file {location!r} of {tensor.name!r} is missing or linked"
        )
    try:
        load_external_data_for_tensor(tensor, str(folder))
    except Exception as error:  # onnx raises its own checker errors, OSError and ValueError
        raise CaptureError(f"{model}: cannot read the data of {tensor.name!r}: {error}") from error
