"""How products are computed: the exact forms of each instruction-set level."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from intformer.ir.graph import Array, Shape
from intformer.ir.lanes import safe_group
from intformer.runtime.packing import BLOCK_DEPTH, Layout


class Form(IntEnum):
    """How a product is computed; the numbers are those of the native ``Form``."""

    PLAIN = 0
    VNNI = 1
    PAIRS2 = 2
    PAIRS4 = 3
    PAIRS8 = 4
    SIGN = 5
    WIDE = 6
    DOTPROD = 7
    I8MM = 8
    SINGLE = 9
    NIBBLES = 10
    SPLIT = 11


LAYOUTS = {
    Form.VNNI: Layout(4, 4),
    Form.PAIRS2: Layout(4, 4),
    Form.PAIRS4: Layout(4, 8),
    Form.PAIRS8: Layout(4, 16),
    Form.SIGN: Layout(4, 4),
    Form.WIDE: Layout(2, 2, np.int16),
    Form.DOTPROD: Layout(4, 16),
    Form.I8MM: Layout(8, 8),
    Form.SINGLE: Layout(1, 8, np.int16),
    Form.SPLIT: Layout(4, 4),
}
"""How the weights of each form lie; K is padded to what one round of the kernel takes."""

CENTRED = (Form.SIGN, Form.DOTPROD)
"""Forms that compute with x - 128: the bias takes 128·Σw to undo the shift."""

MAX_CENTRED_DEPTH = 2**17 - 1
"""Depth up to which Σ (x - 128)·w stays below 2^31, whatever the proof says of Σ x·w."""

WIDE_FORMS = {"avx2": Form.WIDE, "avxvnni": Form.WIDE, "avx512vnni": Form.WIDE}
WIDE_FORMS |= {"dotprod": Form.SINGLE, "i8mm": Form.SINGLE}
"""With operands of 16 bits, exact for all weights and depths."""

BYTE_FORMS = {"avxvnni": Form.VNNI, "avx512vnni": Form.VNNI, "i8mm": Form.I8MM}
"""Levels that multiply uint8 by int8 straight into int32: exact for all weights and depths."""


FEW_ROWS = 40
"""Rows up to which sums of weights take longer to make (``Form.SPLIT``) than they save."""


def choose_form(level: str, op: str, weight: Array, rows: int = 2 * FEW_ROWS) -> Form:
    """The fastest exact form for these weights and this many rows at an instruction-set level."""
    if level == "portable":
        return Form.PLAIN
    if op == "linear16":
        return WIDE_FORMS[level]
    form = BYTE_FORMS.get(level) or _safe_form(level, weight, rows)
    too_deep = form in CENTRED and len(weight) > MAX_CENTRED_DEPTH
    return WIDE_FORMS[level] if too_deep else form


def _safe_form(level: str, weight: Array, rows: int) -> Form:
    """The form of a level without such an instruction."""
    if level == "dotprod":
        return Form.DOTPROD
    group = safe_group(weight)
    if group > 1:
        return {2: Form.PAIRS2, 4: Form.PAIRS4, 8: Form.PAIRS8}[group]
    if rows > FEW_ROWS:
        return Form.SPLIT
    return Form.SIGN if weight.min() > -128 else Form.WIDE


NIBBLE_LEVELS = ("portable", "avx2", "avxvnni", "avx512vnni")
"""Levels that multiply weights of 4 bits as they are stored; the others expand them to int8."""


def fits_nibbles(level: str, op: str, packed: Shape) -> bool:
    """Whether a weight stored as ``packed`` [O, G, H] can stay in 4 bits.

    Kernels know one multiplier for 32 weights: groups are multiples of that, or there is one group.
    """
    _, groups, half = packed
    aligned = groups == 1 or int(half) * 2 % BLOCK_DEPTH == 0
    return level in NIBBLE_LEVELS and op == "linear" and aligned
