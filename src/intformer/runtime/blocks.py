"""Into which blocks threads divide a product."""

from __future__ import annotations

from intformer.runtime.forms import Form
from intformer.runtime.plan import Machine

BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_BYTES = 240, 384, 2**18
"""The largest block of a product that one thread works on at a time: its part of A stays in the
second-level cache (rows times depth; AVX2 fetches it so early that it need not), and its part of B
is read for all rows of the block."""

MOST_ROWS = 192
"""Rows of a block where weights are unpacked for all of them."""

ROW_STEP, COLUMN_STEP = 24, 192
"""Multiples of every tile."""

SMALL_ROW_STEP, LEAST_ROW_STEP, SMALL_COLUMN_STEP = 12, 4, 16
"""Multiples of all tiles of AVX2, and of those of most forms."""

UNITS_PER_THREAD, EVEN_UNITS_PER_THREAD = 4, 2
"""Blocks per thread that even out their different speeds, and their different sizes if need be."""


def block_sizes(
    machine: Machine, form: Form, rows: int, columns: int, depth: int, windows: bool = False
) -> tuple[int, int]:
    """Rows and columns of a block: as large as allowed, while all threads get enough of them.

    ``windows``: a block gathers its rows from an image.

    One thread takes all columns at once. The tiles of AVX2 are so small that few blocks of even
    size serve best, of all rows unless a block copies or gathers them.
    """
    level, threads = machine.level, machine.threads
    if form is Form.SPLIT and not windows:
        return _large_blocks(rows, columns, threads)
    most = _most_rows(level, depth, form)
    if threads == 1:
        return _even(rows, most, ROW_STEP), _even(columns, columns, COLUMN_STEP)
    if level == "avx2" and rows > ROW_STEP:
        apart = EVEN_UNITS_PER_THREAD * threads if windows else threads
        return _even_blocks(
            rows, columns, threads, most, apart if windows or form is Form.WIDE else 1
        )
    for across in (BLOCK_COLUMNS, COLUMN_STEP):
        for high in range(most, 0, -ROW_STEP):
            down = _even(rows, high, ROW_STEP)
            units = -(-rows // down) * -(-columns // across)
            if units >= UNITS_PER_THREAD * threads:
                return down, across
    return ROW_STEP, COLUMN_STEP


def _most_rows(level: str, depth: int, form: Form) -> int:
    """Rows of A in a block: as many as fit the cache together where that matters."""
    if level == "avx2":
        return BLOCK_ROWS
    if form is Form.NIBBLES:
        return MOST_ROWS
    return max(ROW_STEP, min(BLOCK_ROWS, BLOCK_BYTES // depth // ROW_STEP * ROW_STEP))


def _even_blocks(rows: int, columns: int, threads: int, most: int, apart: int) -> tuple[int, int]:
    """Few blocks of even size, rows in at least ``apart`` parts, so that few are copied twice."""
    units = EVEN_UNITS_PER_THREAD * threads
    step = SMALL_ROW_STEP if apart == 1 else LEAST_ROW_STEP
    down = _even(rows, min(most, -(-rows // apart)), step)
    least = 1 if apart >= units else EVEN_UNITS_PER_THREAD
    parts = max(least, -(-units // -(-rows // down)))
    return down, _even(columns, -(-columns // parts), SMALL_COLUMN_STEP)


def _large_blocks(rows: int, columns: int, threads: int) -> tuple[int, int]:
    """As few blocks as threads can share: each copies its rows and makes sums of its columns."""
    down = -(-rows // BLOCK_ROWS)
    down = -(-down // threads) * threads if down > threads else down
    across = -(-threads // down)
    return (
        _even(rows, -(-rows // down), LEAST_ROW_STEP),
        _even(columns, -(-columns // across), SMALL_COLUMN_STEP),
    )


def _even(size: int, largest: int, step: int) -> int:
    """A multiple of ``step``, up to ``largest``, that splits ``size`` into about equal parts."""
    parts = -(-size // largest)
    return -(-size // (parts * step)) * step
