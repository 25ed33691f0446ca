"""Byte-pair encodings without what their merges say anyway.

A tokenizer.json names every token twice or more: in its vocabulary and in its merges. A trained
byte-pair encoding numbers the tokens that merges make in the order of the merges (Sennrich et al.,
arXiv 1508.07909), so two numbers for each merge and the tokens before and behind them say it all.
"""

from __future__ import annotations

from typing import Any

from intformer.ir.packed_bytes import LARGEST

FIRST, SURROGATES, SURROGATE_COUNT = 0x100, 0xD800, 0x800
"""Numbers are written as characters from ``FIRST`` on, which JSON never escapes; surrogates are no
characters."""

Tokenizer = dict[str, Any]
"""The object of a tokenizer.json."""


def shortened(tokenizer: Tokenizer) -> Tokenizer:
    """``tokenizer`` with numbers for merges, if that can be undone; else itself.

    ``lengthened`` gives the very same object back, order of the vocabulary included.
    """
    try:
        model = tokenizer["model"]
        short = {**tokenizer, "model": {**model, **_numbered(model["vocab"], model["merges"])}}
        again = lengthened(short)["model"]
    except (KeyError, TypeError, ValueError, IndexError):
        return tokenizer
    same = again == model and list(again["vocab"]) == list(model["vocab"])
    return short if same else tokenizer


def lengthened(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer that ``shortened`` was given; others are returned as they are.

    Raises:
        KeyError, TypeError, ValueError, IndexError: it is damaged.
    """
    model = tokenizer["model"]
    if not isinstance(model.get("merges"), dict):
        return tokenizer
    tokens, behind = list(model["vocab"]["before"]), model["vocab"]["behind"]
    pairs = zip(*(map(_number, model["merges"][side]) for side in ("left", "right")), strict=True)
    merges, size = [], 0
    for left, right in pairs:
        merges.append([tokens[left], tokens[right]])
        tokens.append(tokens[left] + tokens[right])
        size += len(tokens[-1])
        if size > LARGEST:  # merges that double a token each time
            raise ValueError("the tokens are too long")
    vocabulary = {token: number for number, token in enumerate(tokens + behind)}
    return {**tokenizer, "model": {**model, "vocab": vocabulary, "merges": merges}}


def _numbered(vocabulary: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    """Vocabulary and merges in short.

    Raises:
        KeyError, TypeError, ValueError, IndexError: they are no encoding of this kind.
    """
    tokens = list(vocabulary)
    first = vocabulary[merges[0][0] + merges[0][1]]
    sides = {
        side: "".join(_character(vocabulary[pair[place]]) for pair in merges)
        for place, side in enumerate(("left", "right"))
    }
    outer = {"before": tokens[:first], "behind": tokens[first + len(merges) :]}
    return {"vocab": outer, "merges": sides}


def _character(number: int) -> str:
    code = number + FIRST
    return chr(code + SURROGATE_COUNT if code >= SURROGATES else code)


def _number(character: str) -> int:
    code = ord(character)
    return (code - SURROGATE_COUNT if code >= SURROGATES else code) - FIRST
