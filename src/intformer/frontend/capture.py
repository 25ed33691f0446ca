"""From a PyTorch module to a float-stage graph, through ``torch.export``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from intformer.errors import CaptureError
from intformer.frontend.build import BATCH_LIMIT
from intformer.frontend.canonical import canonicalize
from intformer.frontend.derived import SEQUENCES
from intformer.frontend.exported import functional
from intformer.frontend.trace import Trace
from intformer.ir.graph import Graph

Example = Sequence[Tensor] | Mapping[str, Tensor]
DynamicAxes = Mapping[str, Mapping[int, str]]


def capture(
    model: nn.Module,
    example: Example,
    *,
    names: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    dynamic: DynamicAxes | None = None,
    limits: Mapping[str, int] | None = None,
) -> Graph:
    """Turn a trained module into a float-stage graph of canonical operators.

    Args:
        model: any module built from supported operators; it is captured in eval mode.
        example: tensors for ``forward``, by position or by name; float32 images [N, C, H, W],
            int64 token ids and masks [N, S]. Values do not matter, sizes do.
        names: names for the graph's inputs in order; otherwise the names in ``example`` or
            those of the parameters of ``forward``.
        outputs: names of the outputs to keep, all if ``None``; a single output is renamed to a
            single name given here that the module does not know (``["logits"]``).
        dynamic: input -> axis -> symbol. By default axis 0 is the batch ``"N"`` and axis 1 of
            integer inputs of rank 2 is the sequence ``"S"``.
        limits: symbol -> largest size; the sequence's default is the model's
            ``config.max_position_embeddings``.

    Raises:
        CaptureError: an operator or structure is not supported; the text names the module.
    """
    request = _Request.make(model, example, names, dynamic, limits)
    program = _export(model, request)
    trace = Trace(program, request.names, request.dynamic, request.limits)
    graph = trace.graph()
    graph.outputs = _pick(_name_outputs(program, graph), outputs)
    graph.metadata["source"] = type(model).__name__
    return canonicalize(graph)


def capture_like(model: nn.Module, sample: Mapping[str, Any] | Any) -> Graph:
    """Capture a module by one raw sample of its program: uint8 images channels-last, or token ids.

    Args:
        model: the module.
        sample: a bare uint8 array [N, H, W, C], or input name -> array; names other than
            ``pixels`` are parameters of ``forward``.

    Raises:
        CaptureError: as :func:`capture`, or if the sample is neither images nor integers.
    """
    arrays = sample if isinstance(sample, Mapping) else {"pixels": sample}
    tensors = {name: _float_input(name, np.asarray(array)) for name, array in arrays.items()}
    if len(tensors) > 1:
        return capture(model, tensors)
    graph = capture(model, tuple(tensors.values()), names=list(tensors))
    name_logits(graph)
    return graph


def name_logits(graph: Graph) -> None:
    """Call the output ``logits`` if there is one vector for each image."""
    kinds = [len(t.shape) for t in graph.inputs.values()]
    values = list(graph.outputs.values())
    if kinds == [4] and len(values) == 1 and len(graph.types[values[0]].shape) == 2:
        graph.outputs = {"logits": values[0]}


def _float_input(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype == np.uint8 and array.ndim == 4:
        n, height, width, channels = array.shape
        return torch.zeros(n, channels, height, width)
    if array.dtype.kind in "iu" and array.ndim == 2:
        return torch.zeros(array.shape, dtype=torch.int64)
    raise CaptureError(
        f"{name!r} is {array.dtype} {list(array.shape)}; a sample is uint8 images [N, H, W, C] or "
        "integer token ids [N, S]"
    )


@dataclass
class _Request:
    """What to export: example tensors by argument name, symbols by argument and axis."""

    args: tuple[Tensor, ...]
    kwargs: dict[str, Tensor]
    names: list[str]
    dynamic: list[dict[int, str]]
    limits: dict[str, int]

    @classmethod
    def make(
        cls,
        model: nn.Module,
        example: Example,
        names: Sequence[str] | None,
        dynamic: DynamicAxes | None,
        limits: Mapping[str, int] | None,
    ) -> _Request:
        keyed = isinstance(example, Mapping)
        given = list(example) if isinstance(example, Mapping) else _parameter_names(model)
        values = example.values() if isinstance(example, Mapping) else example
        tensors = [_placed(model, _batched(x)) for x in values]
        given = given[: len(tensors)]
        chosen = list(names) if names is not None else given
        if len(chosen) != len(tensors):
            raise CaptureError(f"{len(tensors)} example tensors but input names {chosen}")
        axes = dynamic or {}
        return cls(
            args=() if keyed else tuple(tensors),
            kwargs=dict(zip(given, tensors, strict=True)) if keyed else {},
            names=chosen,
            dynamic=[
                dict(axes.get(n, _default_axes(x))) for n, x in zip(chosen, tensors, strict=True)
            ],
            limits={
                "N": BATCH_LIMIT,
                **dict.fromkeys(SEQUENCES, _sequence_limit(model)),
                **(limits or {}),
            },
        )


def _parameter_names(model: nn.Module) -> list[str]:
    return [name for name in inspect.signature(model.forward).parameters if name != "self"]


def _batched(x: Tensor) -> Tensor:
    """At least two samples: ``torch.export`` takes a batch of one for a constant."""
    return torch.cat([x, x]) if x.shape[0] == 1 else x


def _placed(model: nn.Module, x: Tensor) -> Tensor:
    """On the model's device and in its precision."""
    parameter = next(model.parameters(), x)
    return x.to(parameter.device, parameter.dtype if x.is_floating_point() else x.dtype)


def _default_axes(x: Tensor) -> dict[int, str]:
    return {0: "N", 1: "S"} if x.dim() == 2 and not x.is_floating_point() else {0: "N"}


def _sequence_limit(model: nn.Module) -> int:
    config = getattr(model, "config", None)
    return int(getattr(config, "max_position_embeddings", 512))


def _export(model: nn.Module, request: _Request) -> ExportedProgram:
    symbols = {s: Dim(s, max=request.limits[s]) for axes in request.dynamic for s in axes.values()}
    specs = [{axis: symbols[s] for axis, s in axes.items()} for axes in request.dynamic]
    dynamic = dict(zip(request.kwargs, specs, strict=True)) if request.kwargs else tuple(specs)
    try:
        with torch.no_grad(), _evaluating(model):
            program = torch.export.export(
                model, request.args, request.kwargs, dynamic_shapes=dynamic, strict=False
            )
            return functional(program)
    except Exception as error:  # torch.export raises anything that tracing a module can raise
        raise CaptureError(_export_problem(model, error)) from error


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block, every submodule's own mode after it."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _export_problem(model: nn.Module, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines[:2]) if lines else type(error).__name__
    return (
        f"{type(model).__name__}: torch.export failed: {reason}; make forward() free of "
        "data-dependent control flow and of fixed batch sizes"
    )


def _name_outputs(program: ExportedProgram, graph: Graph) -> dict[str, str]:
    """Public names for the outputs, from the structure that ``forward`` returns."""
    spec = program.call_spec.out_spec
    assert spec is not None
    positions = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths = {str(leaf): _key(path) for path, leaf in pytree.tree_flatten_with_path(positions)[0]}
    return {paths[position]: value for position, value in graph.outputs.items()}


def _key(path: Sequence[Any]) -> str:
    parts = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
    text = "_".join(parts)
    return f"output_{text}" if text.isdigit() else text or "output"


def _pick(found: dict[str, str], wanted: Sequence[str] | None) -> dict[str, str]:
    if wanted is None:
        return found
    if len(wanted) == len(found) == 1:
        return {wanted[0]: next(iter(found.values()))}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise CaptureError(f"the model has no output {missing[0]!r}; it has {list(found)}")
    return {name: found[name] for name in wanted}
