"""Native steps for products of matrices, depthwise convolutions and the softmax by itself."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from intformer.ir.graph import Node
from intformer.runtime.operands import broadcast_strides
from intformer.runtime.plan import DTYPE_CODES, Builder


def emit_matmul(builder: Builder, node: Node) -> None:
    a, b = (builder.shape(name) for name in node.inputs)
    zeros = [cast(int, node.attrs[key]) for key in ("a_zero", "b_zero")]
    lead = a[:-2]
    walks = [
        [step * math.prod(shape[-2:]) for step in broadcast_strides(shape[:-2], lead)]
        for shape in (a, b)
    ]
    numbers = [math.prod(lead), a[-2], a[-1], b[-1], *zeros, len(lead), *lead, *walks[0], *walks[1]]
    places = [builder.locate(name) for name in node.inputs]
    builder.step("matmul", [*places, builder.define(node.output)], numbers)


def emit_depthwise(builder: Builder, node: Node) -> None:
    batch, height, width, depth = builder.shape(node.inputs[0])
    _, out_h, out_w, _ = builder.shape(node.output)
    pairs = [cast(tuple[int, int], node.attrs[key]) for key in ("kernel", "stride", "padding")]
    pad = np.broadcast_to(builder.graph.constants[node.inputs[1]], depth)
    level = builder.constant(("pad", node.inputs[1], depth), lambda: pad)
    numbers = [batch * out_h, height, width, depth, *(v for pair in pairs for v in pair)]
    places = [builder.locate(node.inputs[0]), level, *map(builder.locate, node.inputs[2:])]
    builder.step("depthwise", [*places, builder.define(node.output)], [*numbers, out_h, out_w])


def emit_softmax(builder: Builder, node: Node) -> None:
    shape = builder.shape(node.inputs[0])
    keys = ("limit", "multiplier", "exp_shift", "gain", "offset", "shift")
    numbers = [math.prod(shape[:-1]), shape[-1], *(cast(int, node.attrs[key]) for key in keys)]
    numbers.append(DTYPE_CODES[builder.dtype(node.output)])
    places = [builder.locate(node.inputs[0]), builder.define(node.output)]
    builder.step("softmax", [*places], numbers)
