"""A twin as one safetensors file: graph, decisions, recipe and state; no code is stored or run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from intformer.errors import InputError
from intformer.ir.graph import Graph, Node, TensorType
from intformer.quantize import params
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.qat.twin import Twin, unwrapped
from intformer.quantize.recipe import Override, Recipe

FORMAT = "intformer twin 1"

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Graph, Node, TensorType, Pixels, Recipe, Override, *vars(params).values())
    if dataclasses.is_dataclass(kind) and isinstance(kind, type)
}
"""The only classes a file can name."""


def save_twin(twin: nn.Module, path: str | Path) -> None:
    """Write ``twin`` (wrappers are looked through) to a ``.safetensors`` file.

    ``load_twin`` gives a twin that trains on and converts to the identical program.
    """
    twin = unwrapped(twin)
    tensors = {f"state.{k}": v.detach().cpu().contiguous() for k, v in twin.state_dict().items()}
    parts = _Encoder(tensors).encode(twin.parts())
    metadata = {"format": FORMAT, "parts": json.dumps(parts)}
    save_file({k: v.clone() for k, v in tensors.items()}, path, metadata=metadata)


def load_twin(path: str | Path) -> Twin:
    """Read what ``save_twin`` wrote.

    Raises:
        InputError: the file is missing, damaged or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: not a twin checkpoint; save_twin and 'intformer train' make them"
        )
    try:
        parts = _decode(json.loads(metadata["parts"]), tensors.__getitem__)
        twin = Twin(**parts)
        state = {k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")}
        twin.load_state_dict(state)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path}: a damaged twin checkpoint ({error})") from None
    return twin


@dataclasses.dataclass
class _Encoder:
    """Values as JSON; arrays go to ``tensors``."""

    tensors: dict[str, Tensor]

    def encode(self, value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return {"kind": type(value).__name__, "fields": self.encode(found)}
        if isinstance(value, dict):
            return {"dict": [[str(k), self.encode(v)] for k, v in value.items()]}
        if isinstance(value, tuple | list):
            return {type(value).__name__: [self.encode(item) for item in value]}
        if isinstance(value, np.ndarray):
            return {"array": self._store(value)}
        return value.item() if isinstance(value, np.generic) else value

    def _store(self, array: np.ndarray) -> str:
        name = f"array.{len(self.tensors)}"
        self.tensors[name] = torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)
        return name


def _decode(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "kind" in value:
        return KINDS[value["kind"]](**_decode(value["fields"], tensor))
    if "dict" in value:
        return {k: _decode(v, tensor) for k, v in value["dict"]}
    if "array" in value:
        return tensor(value["array"]).numpy()
    ((name, items),) = value.items()
    return {"tuple": tuple, "list": list}[name](_decode(item, tensor) for item in items)
