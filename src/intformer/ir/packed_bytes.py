"""Bytes in a program's metadata: compressed, and printable."""

from __future__ import annotations

import base64
import lzma

from intformer.errors import InputError

LARGEST = 64 * 2**20
"""Bytes that packed ones may expand to."""


def pack(content: bytes) -> str:
    """Any bytes as printable characters."""
    packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    return base64.b85encode(packed).decode("ascii")


def unpack(text: str, what: str) -> bytes:
    """The bytes that ``pack`` was given.

    Raises:
        InputError: it is damaged, or expands to more than ``LARGEST``; ``what`` says what it is.
    """
    try:
        reader = lzma.LZMADecompressor(memlimit=2 * LARGEST)
        found = reader.decompress(base64.b85decode(text), max_length=LARGEST)
        if reader.eof:
            return found
    except (ValueError, lzma.LZMAError):
        pass
    raise InputError(f"the program's {what} is damaged or too large")
