"""What sequence models need: polynomial attention, rotations, gates, tied embeddings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intformer.arith import POLYNOMIAL_BITS
from intformer.errors import CaptureError
from intformer.ir.graph import Node
from intformer.quantize.dyadic import LARGEST_SHIFT, multipliers, shift_for
from intformer.quantize.groups import Form
from intformer.quantize.lowering.attention import mixing
from intformer.quantize.lowering.context import Context
from intformer.quantize.params import Affine

Request = Callable[[Context, str, Form], str]

LARGEST_FLOOR = 2**29
LARGEST_BIAS = 2**29
ROTATION_BITS = 14
"""Fraction bits of sines and cosines: two of them times int16 stay within int32."""


def lower_polynomial(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Polynomial attention: b and delta in integers, the base scaled to what calibration saw."""
    q, k = (context.affine(value, "narrow") for value in node.inputs[:2])
    operands = [request(context, value, "narrow") for value in node.inputs[:3]]
    power, heads = node.attrs["power"], node.attrs["heads"]
    assert isinstance(power, int) and isinstance(heads, int)
    unit = q.scale * k.scale * node.number("scale")
    most = 2 ** (POLYNOMIAL_BITS // power) - 1
    base = context.decisions.reaches[node.output] / most
    limit, multiplier, shift = base_parameters(unit / base, most)
    bias = np.round(context.vector(node.inputs[3]) / unit).clip(-LARGEST_BIAS, LARGEST_BIAS)
    floor = np.round(np.abs(context.vector(node.inputs[4])) / base**power)
    causal = bool(node.attrs.get("causal"))
    return context.emit(
        "causal_polynomial_attention" if causal else "polynomial_attention",
        (
            *operands,
            context.constant(f"{name}.bias", bias.astype(np.int32)),
            context.constant(f"{name}.floor", floor.clip(1, LARGEST_FLOOR).astype(np.int32)),
            *node.inputs[5:],
        ),
        node.name,
        name,
        heads=heads,
        power=power,
        limit=limit,
        multiplier=multiplier,
        poly_shift=shift,
        **mixing(context, node, form),
    )


def base_parameters(ratio: float, most: int) -> tuple[int, int, int]:
    """(limit, multiplier, shift): a score times ``ratio``, at most ``most``, within int32.

    The multiplier's rounding scales all bases of an attention alike, which changes weights only
    against delta.
    """
    for shift in range(30, 0, -1):
        multiplier = max(round(ratio * 2**shift), 1)
        limit = -(-(most << shift) // multiplier)
        if multiplier < 2**30 and limit * multiplier + 2 ** (shift - 1) < 2**31:
            break
    return min(limit, (2**31 - 1 - 2 ** (shift - 1)) // multiplier, 2**30), multiplier, shift


def lower_rotary(context: Context, request: Request, node: Node, form: Form, name: str) -> str:
    """Turn the wide value by integer tables, then one requantize."""
    source, target = context.affine(node.inputs[0], "wide"), context.affine(node.output, form)
    if source.dtype != "int16":
        raise CaptureError(f"rotary '{node.name}' needs a stream of 16 bits")
    rows, size = context.source.constants[node.inputs[1]].shape
    constants = [_rotation(context, value) for value in node.inputs[1:]]
    heads = node.attrs["heads"]
    assert isinstance(heads, int)
    turned = context.emit(
        "rotary",
        (request(context, node.inputs[0], "wide"), *constants),
        node.name,
        f"{name}.turned",
        heads=heads,
        size=size,
        rows=rows,
    )
    return context.requantize(turned, source.scale / 2**ROTATION_BITS, 0, target, node.name, name)


def _rotation(context: Context, value: str) -> str:
    """The integer table of cosines or sines; one for all layers that share the float table."""
    name = f"{value}.rotation"
    if name in context.graph.constants:
        return name
    table = context.vector(value)
    half = table[:, : table.shape[1] // 2]
    return context.constant(name, np.round(half * 2**ROTATION_BITS).astype(np.int16))


def tied_projection(context: Context, node: Node) -> Node | None:
    """The linear layer whose int8 weight is the table of the embedding ``node``, if any."""
    weights = context.decisions.weights
    for reader in context.consumers[node.inputs[0]]:
        layer = reader.op == "linear" and reader.inputs[1] == node.inputs[0]
        if layer and weights[reader.output].multiplier is None:
            return reader
    return None


def lower_tied_embedding(
    context: Context, node: Node, layer: Node, target: Affine, name: str
) -> str:
    """Columns of the projection's integer weight: one matrix serves both ends."""
    weight = context.decisions.weights[layer.output]
    ratio = weight.scale / target.scale
    shift = min(shift_for(ratio), LARGEST_SHIFT)
    full = np.ascontiguousarray(np.broadcast_to(multipliers(ratio, shift), len(ratio)))
    return context.emit(
        "tied_embedding",
        (
            node.inputs[1],
            context.weight(layer),
            context.constant(f"{node.inputs[0]}.multiplier", full),
        ),
        node.name,
        name,
        shift=shift,
        dtype=target.dtype,
    )
