"""What sequences need: causal attention with or without a cache, polynomial weights, rotations.

``position`` int64 [N] says how many tokens each row of the batch had before; without it there were
none. Token t of row n stands at ``position[n] + t`` and sees the keys up to there.
"""

from __future__ import annotations

from intformer.arith.primitives import Primitives, Scalar, Value
from intformer.arith.scaling import saturate
from intformer.arith.softmax import divide_by, softmax_weights, weight_sum

HIDDEN = -(2**30)
"""Score of a key that a query does not see."""

POLYNOMIAL_BITS = 30
"""Bits of the largest polynomial: a base of ``POLYNOMIAL_BITS // n`` bits to the power n."""

SMALLEST_PEAK = 128
"""A row whose largest polynomial is below it is weighted as if it had that one: it keeps the
reciprocal within 31 bits."""

WEIGHT_BITS = 30
"""Fraction bits of the reciprocal of a row's largest polynomial."""


def token_positions(xp: Primitives, x: Value, position: Value | None) -> Value:
    """Where each token of ``x`` [N, T, ...] stands: int32 [N or 1, T]."""
    steps = xp.reshape(xp.arange(x, 1), (1, -1))
    if position is None:
        return steps
    return xp.reshape(xp.cast(position, "int32"), (0, 1)) + steps


def visible_keys(xp: Primitives, q: Value, k: Value, position: Value | None) -> Value:
    """Whether query t of row n sees key s: bool [N or 1, 1, 1, T, S]."""
    key = xp.reshape(xp.arange(k, 1), (1, 1, 1, 1, -1))
    query = xp.reshape(token_positions(xp, q, position), (0, 1, 1, -1, 1))
    return key <= query


def kept_keys(xp: Primitives, mask: Value) -> Value:
    """A key mask uint8 [N, S] as bool [N, 1, 1, 1, S]."""
    return xp.cast(xp.reshape(mask, (0, 1, 1, 1, -1)), "int32") >= 1


def grouped_queries(xp: Primitives, x: Value, heads: int, kv_heads: int) -> Value:
    """[N, T, H·D] -> [N, K, H/K, T, D]: the queries that share a head of keys stand together."""
    split = xp.reshape(x, (0, 0, kv_heads, heads // kv_heads, -1))
    return xp.transpose(split, (0, 2, 3, 1, 4))


def grouped_scores(
    xp: Primitives,
    q: Value,
    k: Value,
    *,
    heads: int,
    kv_heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
) -> Value:
    """q·kᵀ of each head, int32 [N, K, H/K, T, S]."""
    keys = xp.transpose(xp.reshape(k, (0, 0, kv_heads, 1, -1)), (0, 2, 3, 4, 1))
    return xp.matmul(grouped_queries(xp, q, heads, kv_heads), keys, q_zero, k_zero)


def mix_values(
    xp: Primitives,
    weights: Value,
    v: Value,
    *,
    kv_heads: int,
    v_zero: Scalar,
    least: int,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Σ w·v of uint8 weights [N, K, H/K, T, S] over Σ w (at least ``least``) -> [N, T, H·D]."""
    values = xp.transpose(xp.reshape(v, (0, 0, kv_heads, 1, -1)), (0, 2, 3, 1, 4))
    total = weight_sum(xp, weights, least)
    mixed = xp.cast(xp.matmul(weights, values, 0, v_zero), "int64")
    result = divide_by(xp, mixed, total, gain=gain, offset=offset, shift=shift, dtype=dtype)
    return xp.reshape(xp.transpose(result, (0, 3, 1, 2, 4)), (0, 0, -1))


def causal_attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    position: Value | None = None,
    *,
    heads: int,
    kv_heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
    v_zero: Scalar,
    limit: Scalar,
    multiplier: Scalar,
    exp_shift: Scalar,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Softmax attention of uint8 q [N,T,H·D] over the keys k, v [N,S,K·D] that each query sees.

    As ``attention``; ``kv_heads`` K divides ``heads`` H, and consecutive queries' heads share a
    head of keys and values (grouped-query attention, arXiv 2305.13245).
    """
    scores = grouped_scores(xp, q, k, heads=heads, kv_heads=kv_heads, q_zero=q_zero, k_zero=k_zero)
    scores = xp.where(visible_keys(xp, q, k, position), scores, scores - scores + HIDDEN)
    weights = softmax_weights(xp, scores, limit=limit, multiplier=multiplier, shift=exp_shift)
    return mix_values(
        xp,
        weights,
        v,
        kv_heads=kv_heads,
        v_zero=v_zero,
        least=255,
        gain=gain,
        offset=offset,
        shift=shift,
        dtype=dtype,
    )


def polynomial_weights(
    xp: Primitives,
    scores: Value,
    visible: Value | None,
    bias: Value,
    floor: Value,
    *,
    limit: Scalar,
    multiplier: Scalar,
    shift: Scalar,
    power: int,
) -> Value:
    """Unnormalised uint8 weights ``relu(score + bias)^power + floor`` of int32 scores [N,H,1,T,S].

    ``bias`` and ``floor`` int32 [H]. The base is
    ``(min(score + bias, limit)·multiplier + 2^(shift-1)) >> shift`` and has
    ``POLYNOMIAL_BITS // power`` bits; ``limit`` keeps the product inside int32. Each row is divided
    by its largest polynomial, so that its weights use all of 8 bits however small its scores are.
    Hidden keys weigh exactly 0. (Lin et al., arXiv 2009.08034.)
    """
    most = 2 ** (POLYNOMIAL_BITS // power) - 1
    raised = xp.maximum(scores + xp.reshape(bias, (1, -1, 1, 1, 1)), 0)
    product = xp.minimum(raised, limit) * multiplier + xp.pow2(shift - 1)
    base = xp.minimum(xp.floor_shift(product, shift), most)
    poly = base
    for _ in range(power - 1):
        poly = poly * base
    poly = poly + xp.reshape(floor, (1, -1, 1, 1, 1))
    if visible is not None:
        poly = xp.where(visible, poly, poly - poly)
    peak = xp.cast(xp.maximum(xp.max(poly, -1), SMALLEST_PEAK), "int64")
    inverse = xp.floor_divide(peak - peak + (255 << WEIGHT_BITS), peak)
    share = xp.cast(poly, "int64") * inverse + (1 << (WEIGHT_BITS - 1))
    weights = xp.cast(xp.floor_shift(share, WEIGHT_BITS), "int32")
    return xp.cast(xp.minimum(weights, 255), "uint8")


def polynomial_attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    bias: Value,
    floor: Value,
    mask: Value | None = None,
    *,
    heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
    v_zero: Scalar,
    limit: Scalar,
    multiplier: Scalar,
    poly_shift: Scalar,
    power: int,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Polynomial attention of uint8 q [N,T,E], k [N,S,E], v [N,S,E] -> [N,T,E].

    ``mask`` uint8 [N,S] hides keys with 0. A row that sees no key at all is the value 0.
    """
    scores = grouped_scores(xp, q, k, heads=heads, kv_heads=heads, q_zero=q_zero, k_zero=k_zero)
    visible = None if mask is None else kept_keys(xp, mask)
    return mix_by_polynomials(
        xp,
        scores,
        v,
        bias,
        floor,
        visible,
        heads=heads,
        v_zero=v_zero,
        limit=limit,
        multiplier=multiplier,
        poly_shift=poly_shift,
        power=power,
        gain=gain,
        offset=offset,
        shift=shift,
        dtype=dtype,
    )


def causal_polynomial_attention(
    xp: Primitives,
    q: Value,
    k: Value,
    v: Value,
    bias: Value,
    floor: Value,
    position: Value | None = None,
    *,
    heads: int,
    q_zero: Scalar,
    k_zero: Scalar,
    v_zero: Scalar,
    limit: Scalar,
    multiplier: Scalar,
    poly_shift: Scalar,
    power: int,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """``polynomial_attention`` over the keys that each query sees."""
    scores = grouped_scores(xp, q, k, heads=heads, kv_heads=heads, q_zero=q_zero, k_zero=k_zero)
    visible = visible_keys(xp, q, k, position)
    return mix_by_polynomials(
        xp,
        scores,
        v,
        bias,
        floor,
        visible,
        heads=heads,
        v_zero=v_zero,
        limit=limit,
        multiplier=multiplier,
        poly_shift=poly_shift,
        power=power,
        gain=gain,
        offset=offset,
        shift=shift,
        dtype=dtype,
    )


def mix_by_polynomials(
    xp: Primitives,
    scores: Value,
    v: Value,
    bias: Value,
    floor: Value,
    visible: Value | None,
    *,
    heads: int,
    v_zero: Scalar,
    limit: Scalar,
    multiplier: Scalar,
    poly_shift: Scalar,
    power: int,
    gain: Scalar,
    offset: Scalar,
    shift: Scalar,
    dtype: str,
) -> Value:
    """Values v weighted by polynomials of ``scores`` at ``visible`` keys [N or 1,1,1,T or 1,S]."""
    constants = {"limit": limit, "multiplier": multiplier, "shift": poly_shift}
    weights = polynomial_weights(xp, scores, visible, bias, floor, power=power, **constants)
    return mix_values(
        xp,
        weights,
        v,
        kv_heads=heads,
        v_zero=v_zero,
        least=1,
        gain=gain,
        offset=offset,
        shift=shift,
        dtype=dtype,
    )


def append_rows(xp: Primitives, cache: Value, new: Value, position: Value) -> Value:
    """``cache`` [N,L,E] uint8 with the rows of ``new`` [N,T,E] written from ``position`` [N] on.

    Rows that would stand behind the last are dropped. Written as a product with a 0/1 matrix and a
    choice, which every runtime has; a kernel copies.
    """
    slot = xp.reshape(xp.arange(cache, 1), (1, -1, 1))
    token = xp.reshape(token_positions(xp, new, position), (0, 1, -1))
    apart = xp.minimum(xp.maximum(slot - token, -1), 1)
    hit = xp.cast(1 - apart * apart, "uint8")
    written = xp.minimum(xp.matmul(hit, new, 0, 0), 255)
    fresh = xp.sum(xp.cast(hit, "int32"), -1) >= 1
    return xp.cast(xp.where(fresh, written, xp.cast(cache, "int32")), "uint8")


def positions_at(xp: Primitives, ids: Value, table: Value, position: Value, *, rows: int) -> Value:
    """Rows of a position table [P, C] for each token of ``ids`` [N, T] -> [N, T, C].

    ``rows`` is P; positions behind the table take its last row.
    """
    return xp.rows(table, xp.minimum(token_positions(xp, ids, position), rows - 1))


def rotary(
    xp: Primitives,
    x: Value,
    cosine: Value,
    sine: Value,
    position: Value | None = None,
    *,
    heads: int,
    size: int,
    rows: int,
) -> Value:
    """Rotary position embedding of int16 x [N,T,H·D] -> int32 (Su et al., arXiv 2104.09864).

    Channel i < D/2 of a head and channel i + D/2 are turned by the angle of position and i, with
    the int16 tables ``cosine`` and ``sine`` [P, D/2] (``size`` is D, ``rows`` is P).
    """
    parts = xp.reshape(x, (0, 0, heads, size))
    first = xp.cast(xp.slice(parts, 3, 0, size // 2), "int32")
    second = xp.cast(xp.slice(parts, 3, size // 2, size), "int32")
    index = xp.minimum(token_positions(xp, x, position), rows - 1)
    c, s = (
        xp.cast(xp.reshape(xp.rows(t, index), (0, 0, 1, size // 2)), "int32")
        for t in (cosine, sine)
    )
    turned = xp.concat([first * c - second * s, second * c + first * s], 3)
    return xp.reshape(turned, (0, 0, heads * size))


def tied_embedding(
    xp: Primitives, ids: Value, weight: Value, multiplier: Value, *, shift: Scalar, dtype: str
) -> Value:
    """Columns of a vocabulary projection's weight int8 [C, V] as embeddings -> [..., C].

    ``multiplier`` int32 [V]. One stored matrix serves both ends of a model with tied embeddings.
    """
    gathered = xp.rows(xp.transpose(weight, (1, 0)), ids)
    factor = xp.rows(xp.reshape(multiplier, (-1, 1)), ids)
    product = xp.cast(gathered, "int64") * xp.cast(factor, "int64") + xp.pow2(shift - 1)
    return saturate(xp, xp.floor_shift(product, shift), dtype)
