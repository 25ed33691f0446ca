"""Turns a float graph into an integer graph, given the decisions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from intformer.errors import CaptureError
from intformer.ir.float_ops import ATTENTIONS, UNARY
from intformer.ir.graph import Graph, TensorType
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Context, Pixels
from intformer.quantize.lowering.rules import RULES
from intformer.quantize.params import Affine, Decisions

SUFFIX = {"narrow": "u8", "wide": "wide"}

ELEMENTWISE = UNARY | {"scale"}
"""Operators that work in any layout and keep it."""

LAYOUT_AWARE = ELEMENTWISE | {
    *("conv2d", "depthwise", "max_pool", "add", "mul"),
    *("reshape", "transpose", "slice", "concat"),
}
"""Operators whose rules take channels-last feature maps; the others get channels first."""


@dataclass(frozen=True)
class Lowered:
    """An integer graph and what its values mean.

    ``meaning`` maps a float value to the integer value that stands for it and its scale; the input
    of an activation in two parts is absent, since no one integer value stands for all of it;
    ``channels_last`` names the float values (N, C, H, W) whose integers are (N, H, W, C).
    """

    graph: Graph
    meaning: dict[str, tuple[str, Affine]]
    channels_last: frozenset[str]


def lower(
    source: Graph,
    decisions: Decisions,
    *,
    pixels: Pixels | None = None,
    max_batch: int = 4096,
    known: Graph | None = None,
) -> Lowered:
    """Lower ``source`` (float stage, canonical) with ``decisions``.

    Args:
        source: canonical float graph.
        decisions: scales and integer weights for all its values and layers.
        pixels: normalisation to fold, if the graph takes an image named ``pixels``.
        max_batch: limit of the batch symbol.
        known: an earlier result for the same graph and scales with other weights; nothing is proved
            again then.

    Raises:
        CaptureError: a node has no integer counterpart or a value no scale.
    """
    context = Context(source, decisions, pixels, known)
    with deep_recursion(FRAMES * len(source.nodes)):
        return _lowered(context, max_batch)


FRAMES = 8
"""Python calls from one value to the one before it, at most."""


@contextmanager
def deep_recursion(calls: int) -> Iterator[None]:
    """Room for that many nested calls more: a value asks for its operands, down to the inputs."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(before + calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _lowered(context: Context, max_batch: int) -> Lowered:
    source, decisions = context.source, context.decisions
    context.graph.limits = {"N": max_batch, **source.limits}
    _declare_inputs(context)
    for public, value in source.outputs.items():
        context.graph.outputs[public] = channels_first(context, value, "wide")
    _add_label(context)
    context.graph.prune()
    _describe(context)
    partial = {context.producers[value].inputs[0] for value in decisions.splits}
    meaning = {
        value: _meaning(context, value, form)
        for value, form in _preferred(context).items()
        if value not in partial
    }
    return Lowered(context.graph, meaning, frozenset(context.channels_last))


def request(context: Context, value: str, form: Form) -> str:
    """The integer value for float ``value`` in ``form``, emitted once."""
    key = (value, form)
    if key not in context.emitted:
        context.emitted[key] = _emit(context, value, form)
    return context.emitted[key]


def _emit(context: Context, value: str, form: Form) -> str:
    name = f"{value}.{SUFFIX[form]}"
    if value in context.source.constants:
        target = context.affine(value, form)
        integers = target.quantize(context.source.constants[value])
        return context.constant(name, integers.astype(target.storage))
    node = context.producers.get(value)
    if value in context.channels_last and value in context.source.inputs:
        return _normalized(context, value, form, name)
    if node is None:
        reader = next(iter(context.consumers.get(value, [])), None)
        where = f"{reader.op} '{reader.name}'" if reader else "an output"
        raise CaptureError(
            f"{where} reads input '{value}' directly: token ids must enter through an embedding"
        )
    rule = RULES.get(node.op)
    if rule is None:
        raise CaptureError(f"operator {node.op} of '{node.name or value}' cannot be lowered")
    ask = request if node.op in LAYOUT_AWARE else channels_first
    result = rule(context, ask, node, form, name)
    if node.op in ELEMENTWISE and node.inputs[0] in context.channels_last:
        context.channels_last.add(node.output)
    return result


def _normalized(context: Context, value: str, form: Form, name: str) -> str:
    """The image as the float model sees it, for readers other than a convolution."""
    pixels, target = context.pixels, context.affine(value, form)
    assert pixels is not None
    return context.requantize(value, pixels.factor, pixels.zero, target, value, name)


def channels_first(context: Context, value: str, form: Form) -> str:
    """``request`` in the layout of the float graph: feature maps of convolutions are transposed."""
    x = request(context, value, form)
    if value not in context.channels_last:
        return x
    return context.emit("transpose", (x,), value, f"{value}.channels_first", perm=(0, 3, 1, 2))


def _declare_inputs(context: Context) -> None:
    for name, kind in context.source.inputs.items():
        if kind.dtype == "float32":
            shape = kind.shape
            if context.pixels is None or len(shape) != 4:
                raise CaptureError(
                    f"input '{name}' is {kind}: a program takes images (N, C, H, W), whose mean "
                    "and std are folded, or integer token ids"
                )
            nhwc = TensorType("uint8", (shape[0], shape[2], shape[3], shape[1]))
            context.add_input(name, nhwc, 0, 255)
            context.channels_last.add(name)
        elif name == "attention_mask" or _is_mask(context, name):
            context.add_input(name, TensorType("uint8", kind.shape), 0, 1)
        else:
            rows = _vocabulary(context, name)
            context.add_input(name, TensorType("int64", kind.shape), 0, rows - 1)


def _is_mask(context: Context, name: str) -> bool:
    return any(n.op in ATTENTIONS and name in n.inputs[3:] for n in context.consumers.get(name, []))


def _vocabulary(context: Context, name: str) -> int:
    rows = [
        context.source.constants[node.inputs[0]].shape[0]
        for node in context.consumers.get(name, [])
        if node.op == "embedding"
    ]
    return min(rows, default=2**31 - 1)


def _add_label(context: Context) -> None:
    """Classifiers also return the index of the largest logit."""
    logits = context.graph.outputs.get("logits")
    if logits is not None and len(context.shape(logits)) == 2:
        label = context.emit("argmax", (logits,), "label", "label", axis=1)
        context.graph.outputs["label"] = label


def _describe(context: Context) -> None:
    """Record the real scale of each output, for humans and evaluation."""
    scales = {}
    for public, value in context.source.outputs.items():
        affine = context.affine(value, "wide")
        scales[public] = {"scale": affine.scale, "zero_point": affine.zero_point}
    context.graph.metadata["scales"] = json.dumps(scales)


def _preferred(context: Context) -> dict[str, Form]:
    """Float value -> the form to compare it by: wide where it exists."""
    found: dict[str, Form] = {}
    alive = set(context.graph.types)
    for (value, form), integer in context.emitted.items():
        if integer in alive and (form == "wide" or value not in found):
            found[value] = form
    return found


def _meaning(context: Context, value: str, form: Form) -> tuple[str, Affine]:
    return context.emitted[value, form], context.affine(value, form)
