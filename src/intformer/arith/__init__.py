"""The integer arithmetic of intformer: the definition of what every program computes.

Each function is written once over a small set of integer primitives (``xp``), so that the same text
runs on NumPy arrays (the reference), on torch tensors (the forward pass of training), on integer
intervals (the proof that nothing overflows) and on graph nodes (the ONNX artifact). Hand-written
kernels are held to it by ``==``. ``docs/arithmetic.md`` derives it from first principles.

Conventions. 8-bit activations are ``uint8`` with a zero point; weights are ``int8``; accumulators
are ``int32``; the residual stream is ``int16``. Rounding happens once per result, to nearest with
ties towards plus infinity: ``(x + 2^(s-1)) >> s`` with a floor shift; the ``2^(s-1)`` is part of an
``offset`` that the lowering computes. ``min``, ``max`` and ``clip`` are used on ``int32`` alone,
division only with a positive divisor. Every range these functions rely on is proved by
``intformer.ir.verify``.
"""

from __future__ import annotations

from intformer.arith.log2 import (
    LOG2_LEVELS,
    log2_attention,
    log2_weights,
)
from intformer.arith.moves import (
    embedding,
    patches,
    sum_axis,
)
from intformer.arith.newton import (
    FIXED_STEPS,
    NEWTON_BITS,
    NEWTON_STEPS,
    fixed_newton_sqrt,
    newton_bits,
    newton_norm,
    newton_sqrt,
)
from intformer.arith.normalization import (
    NORM_BITS,
    NORM_LIMIT,
    integer_sqrt,
    l1_norm,
    layer_norm,
    nonnegative,
    norm_constants,
    normalize,
    rms_norm,
)
from intformer.arith.primitives import (
    SATURATION,
    STORAGE,
    Primitives,
    Scalar,
    Value,
)
from intformer.arith.products import (
    linear,
    linear16,
    unpack4,
)
from intformer.arith.quadratic import (
    QUADRATIC_CONSTANT,
    QUADRATIC_DROP,
    QUADRATIC_END,
    QUADRATIC_LINEAR,
    QUADRATIC_TOP,
    exponentials,
    quadratic_attention,
    quadratic_erf,
    quadratic_exp,
    quadratic_weights,
)
from intformer.arith.scaling import (
    add,
    multiply,
    requantize,
    saturate,
    scaled,
    table,
)
from intformer.arith.sequence import (
    HIDDEN,
    POLYNOMIAL_BITS,
    append_rows,
    causal_attention,
    causal_polynomial_attention,
    polynomial_attention,
    polynomial_weights,
    positions_at,
    rotary,
    tied_embedding,
)
from intformer.arith.shift import (
    ROW_SIGMOID_BITS,
    SHIFT_BITS,
    SHIFT_END,
    SHIFT_OCTAVES,
    SHIFT_REACH,
    SIGMOID_OCTAVES,
    shift_attention,
    shift_exp,
    shift_gelu,
    shift_sigmoid,
    shift_weights,
)
from intformer.arith.softmax import (
    EXP_BITS,
    EXP_CONSTANT,
    EXP_LINEAR,
    EXP_QUADRATIC,
    EXP_SCALE,
    EXP_STEPS,
    attention,
    distances,
    exp2_weight,
    join_heads,
    mix,
    normalized_attention,
    powers_of_two,
    scored,
    softmax_weights,
    split_heads,
)

__all__ = [
    "EXP_BITS",
    "EXP_CONSTANT",
    "EXP_LINEAR",
    "EXP_QUADRATIC",
    "EXP_SCALE",
    "EXP_STEPS",
    "FIXED_STEPS",
    "HIDDEN",
    "LOG2_LEVELS",
    "NEWTON_BITS",
    "NEWTON_STEPS",
    "NORM_BITS",
    "NORM_LIMIT",
    "POLYNOMIAL_BITS",
    "QUADRATIC_CONSTANT",
    "QUADRATIC_DROP",
    "QUADRATIC_END",
    "QUADRATIC_LINEAR",
    "QUADRATIC_TOP",
    "ROW_SIGMOID_BITS",
    "SATURATION",
    "SHIFT_BITS",
    "SHIFT_END",
    "SHIFT_OCTAVES",
    "SHIFT_REACH",
    "SIGMOID_OCTAVES",
    "STORAGE",
    "Primitives",
    "Scalar",
    "Value",
    "add",
    "append_rows",
    "attention",
    "causal_attention",
    "causal_polynomial_attention",
    "distances",
    "embedding",
    "exp2_weight",
    "exponentials",
    "fixed_newton_sqrt",
    "integer_sqrt",
    "join_heads",
    "l1_norm",
    "layer_norm",
    "linear",
    "linear16",
    "log2_attention",
    "log2_weights",
    "mix",
    "multiply",
    "newton_bits",
    "newton_norm",
    "newton_sqrt",
    "nonnegative",
    "norm_constants",
    "normalize",
    "normalized_attention",
    "patches",
    "polynomial_attention",
    "polynomial_weights",
    "positions_at",
    "powers_of_two",
    "quadratic_attention",
    "quadratic_erf",
    "quadratic_exp",
    "quadratic_weights",
    "requantize",
    "rms_norm",
    "rotary",
    "saturate",
    "scaled",
    "scored",
    "shift_attention",
    "shift_exp",
    "shift_gelu",
    "shift_sigmoid",
    "shift_weights",
    "softmax_weights",
    "split_heads",
    "sum_axis",
    "table",
    "tied_embedding",
    "unpack4",
]
