"""The operators of the float stage: what a captured model may consist of.

``CANONICAL`` lists what ``lower`` turns into integers. A frontend may produce the operators of
``TRANSIENT`` too, on condition that canonicalisation removes them. All arrays are float32 unless
said; ``*`` marks an optional input.

=============== ============================== ====================================================
operator        inputs                         attributes and meaning
=============== ============================== ====================================================
conv2d          x[N,C,H,W], w[O,C,kh,kw], *b   ``stride=(sh,sw)``, ``padding=(ph,pw)``; groups 1
linear          x[...,K], w[O,K], *b[O]        y = x wᵀ + b
layer_norm      x[...,C], gamma[C], beta[C]    ``eps``; over the last axis
rms_norm        x[...,C], gamma[C]             ``eps``; over the last axis
attention       q[N,T,E], k[N,S,E], v[N,S,E],  ``heads``, ``scale``; softmax(scale q kᵀ) v per head,
                *mask                          heads are consecutive slices of E. ``mask`` is an
                                               integer [N,S] input, 1 keeps a key, 0 drops it.
                                               ``causal`` True: query t sees the keys up to t.
                                               ``kv_heads``: heads of k and v, if fewer
polynomial_     q, k, v, b[H], delta[H],       ``heads``, ``scale``, ``power``, ``causal``; weights
attention       *mask                          relu(scale q kᵀ + b)^power + delta over their sum
l1_norm         x[...,C], gamma[C], beta[C]    ``eps``; (x - mean) / (mean|x - mean| + eps)
rotary          x[N,T,H·D], cos[P,D],          ``heads``; turns channels i and i + D/2 of a head by
                sin[P,D]                       the angle of position and i
gelu            x                              ``approximate`` "none" or "tanh"
biased_         q[N,W,T,E], k[N,W,S,E],        ``heads``, ``scale``; in each of W windows
attention       v[N,W,S,F],                    softmax(scale q kᵀ + bias) v per head; the constant
                bias[W|1,heads|1,T|1,S]        bias holds relative positions and masks
depthwise       x[N,C,H,W], w[C,kh,kw], *b[C]  ``stride``, ``padding``; each channel alone
max_pool        x[N,C,H,W]                     ``kernel``, ``stride``, ``padding``
relu, tanh,     x                              element-wise
sigmoid, silu,
exp, square,
softplus, sqrt,
reciprocal
hardswish,      x                              as in PyTorch; ``leaky_relu`` has ``slope``,
hardsigmoid,                                   ``elu`` ``alpha``, ``clamp`` ``low``, ``high``
leaky_relu,
elu, clamp
mul             a, b                           broadcasting; either may be a constant
matmul          a[...,M,K], b[...,K,N]         of equal rank; either may be a constant
softmax         x                              over the last axis, outside of ``attention``
max             x                              ``axis``, ``keepdims``
add             a, b                           broadcasting; either may be a constant
scale           x                              ``factor``; multiplication by a number
rescale         x[...,C], gain[C], bias[C]     y = x·gain + bias per channel
mean            x                              ``axis``, ``keepdims``; over a fixed dimension
reshape         x                              ``shape``: 0 copies a dimension, -1 infers one
transpose       x                              ``perm``
slice           x                              ``axis``, ``start``, ``stop``; step 1
concat          a, b, ...                      ``axis``
expand          x                              ``axis``: a dimension of 1 repeated to the size of
                                               the batch (only axis 0, of a constant)
embedding       table[V,C], ids                integer ids of any shape -> [..., C]
positions       ids[N,S], table[P,C]           the first S rows of the table -> [1, S, C]; ids give
                                               S alone, S <= P
=============== ============================== ====================================================

Transient, between a frontend and canonicalisation: ``batch_norm`` (x, gamma, beta, mean, var;
``eps``), ``sdpa`` (q, k, v in [N,heads,T,D], *mask; ``scale``), ``polynomial_sdpa`` (the same with
b, delta; ``power``; both with ``causal``), ``rotate`` (``rotary`` of [N,H,T,D]), ``key_mask`` (mask
[N,S] -> [N,1,1,S]) and ``causal_mask`` (ids [N,T] -> [1,1,T,T]): what attention adds or, with
``hides``, which keys it does not see; ``hide`` (x, *mask; ``causal``: 0 at keys not seen),
``total`` (sum over the last axis, kept), ``border`` (x with ``before`` and ``after``: so many
elements of -inf along each axis), ``sub``, ``div``, ``pow``, ``erf``, ``abs``. Everything
else that a model may say (``select``, ``split``, ``squeeze``, casts, shape and mask arithmetic) is
resolved while it is read.
"""

from __future__ import annotations

UNARY = frozenset(
    {
        *("gelu", "relu", "tanh", "sigmoid", "silu", "exp", "square", "softplus"),
        *("reciprocal", "sqrt"),
        *("hardswish", "hardsigmoid", "leaky_relu", "elu", "clamp"),
    }
)
"""Element-wise functions of one value; the integer stage turns each into a table."""

ATTENTIONS = frozenset({"attention", "polynomial_attention"})
"""Operators whose first inputs are q, k and v; what follows are vectors and perhaps a key mask."""

NORMS = frozenset({"layer_norm", "rms_norm", "l1_norm"})
"""Operators that normalise rows."""

CANONICAL = UNARY | frozenset(
    {
        "conv2d",
        "linear",
        "layer_norm",
        "rms_norm",
        "l1_norm",
        "attention",
        "biased_attention",
        "polynomial_attention",
        "rotary",
        "mul",
        "matmul",
        "softmax",
        "depthwise",
        "max_pool",
        "max",
        "add",
        "scale",
        "rescale",
        "mean",
        "reshape",
        "transpose",
        "slice",
        "concat",
        "expand",
        "embedding",
        "positions",
    }
)
"""What remains after canonicalisation; ``lower`` accepts these and nothing else."""

WEIGHTED = frozenset({"linear", "conv2d", "depthwise"})
"""Operators with constant weights and biases, whose sums are accumulators in the integer stage."""
