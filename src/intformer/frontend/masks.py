"""Recognising masks by what they compute instead of how they are written.

Libraries turn the integer mask [N, S] into an attention mask in ways that change from version to
version. Evaluating the arithmetic on random masks and comparing with the only meaning that is
supported is shorter than a pattern for each, and it cannot be fooled by a look-alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intformer.ir.graph import Array

DROPPED = -1e4
"""An additive mask must lie below this for a dropped key: exp of it is 0 beside any kept key."""

TRIALS = ((2, 5), (3, 8))


def is_identity(evaluate: Callable[[Array], Array]) -> bool:
    """Whether a computation returns its integer input [N, S] as it is, as a view does."""
    ids = np.random.default_rng(0).integers(0, 2**31, TRIALS[1], dtype=np.int64)
    result = evaluate(ids)
    return result.shape == ids.shape and bool((result == ids).all())


def is_causal_mask(mask: Array) -> bool:
    """Whether an operand of attention [..., T, T] lets each position see itself and those before.

    Args:
        mask: bool (true keeps) or float (added to the scores).
    """
    if mask.ndim < 2 or mask.shape[-1] != mask.shape[-2]:
        return False
    return _keeps(mask, np.broadcast_to(np.tri(mask.shape[-1], dtype=np.bool_), mask.shape))


def is_key_mask(evaluate: Callable[[Array], Array]) -> bool:
    """Whether a computation turns a 0/1 mask into "attend to key s unless mask[n, s] is 0".

    Args:
        evaluate: integer mask [N, S] -> the operand of attention that broadcasts to
            [N, heads, T, S]: bool (true keeps) or float (added to the scores).
    """
    rng = np.random.default_rng(0)
    return all(_agrees(evaluate, _random_mask(rng, n, s)) for n, s in TRIALS)


def _random_mask(rng: np.random.Generator, n: int, s: int) -> Array:
    mask = rng.integers(0, 2, (n, s), dtype=np.int64)
    mask[:, 0] = 1  # a row without any key has no meaning
    mask[:, -1] = 0
    return mask


def _agrees(evaluate: Callable[[Array], Array], mask: Array) -> bool:
    n, s = mask.shape
    try:
        result = np.broadcast_to(evaluate(mask), (n, 1, s, s))
    except ValueError:
        return False
    return _keeps(result, np.broadcast_to(mask[:, None, None, :] == 1, result.shape))


def _keeps(result: Array, keep: Array) -> bool:
    """Whether an operand of attention drops all keys but those of ``keep``."""
    if result.dtype == np.bool_:
        return bool((result == keep).all())
    return bool((result[keep] == 0).all() and (result[~keep] < DROPPED).all())
