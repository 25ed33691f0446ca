"""A tokenizer.json inside a program: compressed, because its text is large beside a small model."""

from __future__ import annotations

import base64
import json
import lzma

from intformer.errors import InputError

PACKED = "xz:"
"""Begins the packed text; anything else is the JSON itself."""

LARGEST = 64 * 2**20
"""Bytes that a packed tokenizer may expand to."""


def pack(text: str) -> str:
    """The JSON without spaces, compressed, as text."""
    compact = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    packed = lzma.compress(compact.encode(), preset=9 | lzma.PRESET_EXTREME)
    return PACKED + base64.b85encode(packed).decode("ascii")


def unpack(text: str) -> str:
    """The JSON of a packed or plain text.

    Raises:
        InputError: it is damaged, or expands to more than a tokenizer can be.
    """
    if not text.startswith(PACKED):
        return text
    try:
        raw = base64.b85decode(text.removeprefix(PACKED))
        reader = lzma.LZMADecompressor(memlimit=2 * LARGEST)
        found = reader.decompress(raw, max_length=LARGEST)
        if reader.eof:
            return found.decode()
    except (ValueError, lzma.LZMAError):
        pass
    raise InputError("the program's packed tokenizer is damaged or too large")
