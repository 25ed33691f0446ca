"""Operators that move values: the same in integers, in the layout the integers have.

Convolutions compute channels-last; the float graph is channels-first. The usual way from an image
to tokens, ``reshape(N, C, H·W)`` and ``transpose(0, 2, 1)``, is then a mere reshape.
"""

from __future__ import annotations

from collections.abc import Callable

from intformer.ir.graph import Node
from intformer.quantize.groups import Form
from intformer.quantize.lowering.context import Context
from intformer.quantize.lowering.linear import channels_last

Request = Callable[[Context, str, Form], str]


def lower_reshape(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    x = _channels_first(context, request, node, form, name)
    shape = node.attrs["shape"]
    assert isinstance(shape, tuple)
    return context.emit("reshape", (x,), node.name, name, shape=shape)


def lower_transpose(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    perm = node.attrs["perm"]
    assert isinstance(perm, tuple)
    turned = _turned(context, request, node, perm, form)
    if turned is not None:
        return turned
    flattened = context.producers.get(node.inputs[0])
    if perm == (0, 2, 1) and flattened is not None and _flattens_image(context, flattened):
        request(context, flattened.inputs[0], form)
        if flattened.inputs[0] in context.channels_last:
            x = request(context, flattened.inputs[0], form)
            channels = context.shape(x)[-1]
            assert isinstance(channels, int)
            return context.emit("reshape", (x,), node.name, name, shape=(0, -1, channels))
    x = _channels_first(context, request, node, form, name)
    return context.emit("transpose", (x,), node.name, name, perm=perm)


def _turned(
    context: Context, request: Request, node: Node, perm: tuple[int, ...], form: Form
) -> str | None:
    """Nothing moves between the layouts of a feature map whose integers have the other one."""
    value = node.inputs[0]
    if perm == (0, 3, 1, 2):
        x = request(context, value, form)
        if value not in context.channels_last:
            context.channels_last.add(node.output)
            return x
    if perm == (0, 2, 3, 1):
        x = request(context, value, form)
        if value in context.channels_last:
            return x
    return None


def _flattens_image(context: Context, node: Node) -> bool:
    """Whether ``node`` is reshape [N, C, H, W] -> [N, C, H·W]."""
    if node.op != "reshape":
        return False
    before = context.source.types[node.inputs[0]].shape
    after = context.source.types[node.output].shape
    return len(before) == 4 and len(after) == 3 and before[:2] == after[:2]


def lower_slice(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    x = _channels_first(context, request, node, form, name)
    axis, start, stop = (node.attrs[key] for key in ("axis", "start", "stop"))
    assert isinstance(axis, int) and isinstance(start, int) and isinstance(stop, int)
    axis %= len(context.shape(x))
    return context.emit("slice", (x,), node.name, name, axis=axis, start=start, stop=stop)


def lower_concat(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    axis = node.attrs["axis"]
    assert isinstance(axis, int)
    parts, last = aligned(context, request, node, form)
    axis %= len(context.shape(parts[0]))
    if last:
        axis = (0, 3, 1, 2)[axis]
    return context.emit("concat", parts, node.name, name, axis=axis)


def aligned(context: Context, request: Request, node: Node, form: Form) -> tuple[list[str], bool]:
    """The inputs in one layout, and whether that is channels-last; then the output has it too."""
    parts = [request(context, value, form) for value in node.inputs]
    if not any(value in context.channels_last for value in node.inputs):
        return parts, False
    context.channels_last.add(node.output)
    return [channels_last(context, request, value, form) for value in node.inputs], True


def lower_expand(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """A constant (the class token) repeated for every image of the batch."""
    x = request(context, node.inputs[0], form)
    like = next(iter(context.graph.inputs))
    return context.emit("repeat_batch", (x, like), node.name, name)


def _channels_first(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """The input in the float graph's layout."""
    x = request(context, node.inputs[0], form)
    if node.inputs[0] not in context.channels_last:
        return x
    perm = (0, 3, 1, 2)
    return context.emit("transpose", (x,), node.name, f"{name}.channels_first", perm=perm)
