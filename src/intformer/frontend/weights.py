"""Reading PyTorch checkpoints without running code from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from intformer.errors import CaptureError

State = dict[str, Tensor]


def read_state(path: Path) -> State:
    """The tensors of a ``.safetensors`` file, or of a ``.pth`` file read with ``weights_only``.

    Raises:
        CaptureError: the file is missing, unreadable or holds something else than tensors.
    """
    if not path.is_file():
        raise CaptureError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise CaptureError(f"{path}: not a safetensors file ({error})") from error
    except Exception as error:  # unpickling raises whatever a broken file leads it to
        raise CaptureError(
            f"{path}: not a checkpoint of plain tensors ({type(error).__name__}); save "
            "model.state_dict() or a .safetensors file"
        ) from error
    return _tensors(path, found)


def _tensors(path: Path, found: Any) -> State:
    """The state dictionary in a checkpoint, without the prefixes that training wrappers add."""
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not any(isinstance(v, Tensor) for v in found.values()):
        raise CaptureError(f"{path}: no state dictionary in this checkpoint")
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    return {k.removeprefix("module.").removeprefix("_orig_mod."): v for k, v in tensors.items()}


def load_state(model: nn.Module, state: State, origin: str) -> None:
    """Put ``state`` into ``model``, all of it and nothing else.

    Raises:
        CaptureError: a tensor is missing, unexpected or of another shape.
    """
    own = model.state_dict()
    missing, extra = own.keys() - state.keys(), state.keys() - own.keys()
    if missing or extra:
        kind, name = ("lacks", min(missing)) if missing else ("has the unknown", min(extra))
        raise CaptureError(
            f"{origin}: {kind} {name!r} ({len(missing)} missing, {len(extra)} unknown tensors); "
            "are these the weights of this model?"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise CaptureError(
                f"{origin}: {name!r} has the shape {list(value.shape)}, the model needs "
                f"{list(own[name].shape)}"
            )
    model.load_state_dict(state)
