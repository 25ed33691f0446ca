"""A tokenizer.json inside a program: short, because its text is large beside a small model."""

from __future__ import annotations

import json

from intformer.errors import InputError
from intformer.evaluate.bpe_text import lengthened, shortened
from intformer.ir import packed_text


def pack(text: str) -> str:
    """The JSON of a tokenizer as a program keeps it: nothing twice, compressed."""
    short = shortened(json.loads(text))
    return packed_text.pack(json.dumps(short, ensure_ascii=False, separators=(",", ":")))


def unpack(text: str) -> str:
    """The JSON of a packed or plain text.

    Raises:
        InputError: it is damaged, or expands to more than a tokenizer can be.
    """
    if not text.startswith(packed_text.MARK):
        return text
    try:
        tokenizer = lengthened(json.loads(packed_text.unpack(text, "tokenizer")))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        raise InputError("the program's tokenizer is damaged") from None
    return json.dumps(tokenizer, ensure_ascii=False)
