"""Metadata that is long beside a small program: compressed, and still text."""

from __future__ import annotations

import base64
import lzma

from intformer.errors import InputError

MARK = "xz:"
"""Begins a packed text; no JSON begins like that."""

LARGEST = 64 * 2**20
"""Bytes that a packed text may expand to."""


def pack(text: str) -> str:
    """``text`` compressed, in printable characters."""
    packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    return MARK + base64.b85encode(packed).decode("ascii")


def unpack(text: str, what: str) -> str:
    """The text that ``pack`` was given; any other text is returned as it is.

    Raises:
        InputError: it is damaged, or expands to more than ``LARGEST``; ``what`` says what it is.
    """
    if not text.startswith(MARK):
        return text
    try:
        raw = base64.b85decode(text.removeprefix(MARK))
        reader = lzma.LZMADecompressor(memlimit=2 * LARGEST)
        found = reader.decompress(raw, max_length=LARGEST)
        if reader.eof:
            return found.decode()
    except (ValueError, lzma.LZMAError):
        pass
    raise InputError(f"the program's {what} is damaged or too large")
