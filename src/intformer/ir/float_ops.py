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
                                               integer [N,S] input, 1 keeps a key, 0 drops it
gelu            x                              ``approximate`` "none" or "tanh"
relu, tanh,     x                              element-wise
sigmoid, silu
add             a, b                           broadcasting; either may be a constant
scale           x                              ``factor``; multiplication by a number
rescale         x[...,C], gain[C], bias[C]     y = x·gain + bias per channel; the quantizer's own
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
``eps``), ``matmul``, ``softmax`` (``axis``), ``sdpa`` (q, k, v in [N,heads,T,D], *mask; ``scale``),
``key_mask`` (mask[N,S] -> [N,1,1,S], 0 where a key is kept and -inf where it is dropped), ``mul``,
``sub``, ``div``, ``pow``, ``sqrt``, ``erf``, ``exp``. Everything else that a model may say
(``select``, ``split``, ``squeeze``, casts, shape and mask arithmetic) is resolved while it is read.
"""

from __future__ import annotations

UNARY = frozenset({"gelu", "relu", "tanh", "sigmoid", "silu"})
"""Element-wise functions of one value; the integer stage turns each into a table."""

CANONICAL = UNARY | frozenset(
    {
        "conv2d",
        "linear",
        "layer_norm",
        "rms_norm",
        "attention",
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
