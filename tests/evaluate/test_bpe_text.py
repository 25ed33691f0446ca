"""Tokenizers in short: the very same again, and nothing that a file could make of them."""

from __future__ import annotations

import json
import time

import pytest

from intformer.errors import InputError
from intformer.evaluate.bpe_text import lengthened, shortened
from intformer.evaluate.tokenizer_text import pack, unpack
from intformer.ir.packed_text import pack as compress

MERGES = [["i", "n"], ["Ġ", "t"], ["Ġt", "h"], ["in", "g"], ["Ġth", "ing"]]


def tokenizer(behind: tuple[str, ...] = (), **model: object) -> dict[str, object]:
    tokens = ["<pad>", "Ġ", *"ghint", *(a + b for a, b in MERGES), *behind]
    content = {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": MERGES}
    return {"version": "1.0", "model": content | model}


@pytest.mark.parametrize("behind", [(), ("<|endoftext|>",)])
def test_a_trained_encoding_is_short_and_comes_back(behind: tuple[str, ...]) -> None:
    whole = tokenizer(behind)
    short = shortened(whole)
    assert "thing" not in json.dumps(short)
    again = lengthened(short)
    assert json.dumps(again) == json.dumps(whole)
    assert json.loads(unpack(pack(json.dumps(whole)))) == whole


@pytest.mark.parametrize(
    "other",
    [
        {"type": "WordPiece", "merges": None},
        {"merges": [" ".join(pair) for pair in MERGES]},
        {"merges": MERGES[::-1]},
        {"vocab": {"a": 0}},
        {"merges": []},
    ],
)
def test_other_tokenizers_are_left_alone(other: dict[str, object]) -> None:
    whole = tokenizer(**other)
    assert shortened(whole) is whole
    assert json.loads(unpack(pack(json.dumps(whole)))) == whole


def test_numbers_beyond_the_surrogates() -> None:
    """Token 55,040 would be the first of the code points that are no characters."""
    letters = [chr(0x4E00 + i) for i in range(240)]
    merges = [[a, b] for a in letters for b in letters]
    tokens = letters + [a + b for a, b in merges]
    last = ["".join(merges[55_040 - 240]), letters[0]]
    vocabulary = {token: index for index, token in enumerate([*tokens, "".join(last)])}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [*merges, last]}
    short = shortened({"model": model})
    assert short["model"] is not model and lengthened(short) == {"model": model}
    json.dumps(short, ensure_ascii=False).encode()


def packed(merges: dict[str, str]) -> str:
    model = {"vocab": {"before": ["a"], "behind": []}, "merges": merges}
    return compress(json.dumps({"model": model}))


@pytest.mark.parametrize(
    "merges", [{"left": "\u0100"}, {"left": "\u0100", "right": "\u0150"}, {"left": "\u0100\u0100"}]
)
def test_damage_is_an_input_error(merges: dict[str, str]) -> None:
    with pytest.raises(InputError, match="tokenizer is damaged"):
        unpack(packed(merges))


def test_tokens_that_double_each_time_are_refused() -> None:
    """Thirty merges would make a token of a gigabyte."""
    side = "".join(chr(0x100 + i) for i in range(40))
    start = time.monotonic()
    with pytest.raises(InputError, match="tokenizer is damaged"):
        unpack(packed({"left": side, "right": side}))
    assert time.monotonic() - start < 5
