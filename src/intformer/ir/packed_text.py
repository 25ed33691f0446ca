"""Metadata that is long beside a small program: compressed, and still text."""

from __future__ import annotations

from intformer.errors import InputError
from intformer.ir import packed_bytes

MARK = "xz:"
"""Begins a packed text; no JSON begins like that."""


def pack(text: str) -> str:
    """``text`` compressed, in printable characters."""
    return MARK + packed_bytes.pack(text.encode())


def unpack(text: str, what: str) -> str:
    """The text that ``pack`` was given; any other text is returned as it is.

    Raises:
        InputError: it is damaged, or expands to more than ``packed_bytes.LARGEST``; ``what`` says
            what it is.
    """
    if not text.startswith(MARK):
        return text
    found = packed_bytes.unpack(text.removeprefix(MARK), what)
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise InputError(f"the program's {what} is damaged") from None
