"""Two SentencePiece files and a vocabulary: the very ids and texts of transformers' tokenizer."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from marian_folders import END, PAD, UNKNOWN, Kind, text, transformers, write_tokenizer

from intformer.errors import InputError
from intformer.generate.piece_folder import languages, read_pieces
from intformer.generate.sentence_pieces import Pieces, SentencePieces
from intformer.generate.special import SpecialTokens
from intformer.generate.vocabulary import Vocabulary
from intformer.ir.graph import Graph

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

CODES = (">>fra<<", ">>deu<<")
ADDED = {
    "4": {"content": "<turn>", "special": True},
    "5": {"content": "<seen>", "special": True},
    "90": {"content": "the", "special": False},
}
FLAGS = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
KINDS = {
    "unigram": Kind(),
    "bpe": Kind("bpe"),
    "bytes": Kind(options=(("byte_fallback", True), ("character_coverage", 0.98))),
    "untouched spaces": Kind(
        options=(("normalization_rule_name", "identity"), ("remove_extra_whitespaces", False))
    ),
    "two vocabularies": Kind(separate=True),
    "added tokens": Kind(
        config=(
            ("added_tokens_decoder", {k: FLAGS | v for k, v in ADDED.items()}),
            ("additional_special_tokens", ["<turn>"]),
            ("clean_up_tokenization_spaces", True),
            ("model_max_length", 512),
        )
    ),
}


@cache
def both(name: str) -> tuple[transformers.MarianTokenizer, SentencePieces]:
    """The library's tokenizer of a folder, and ours."""
    with TemporaryDirectory() as place:
        folder = write_tokenizer(Path(place), KINDS[name], (*CODES, "<turn>", "<seen>"))
        return transformers.MarianTokenizer.from_pretrained(folder), SentencePieces(
            read_pieces(folder)
        )


def awkward(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    parts = [
        END,
        UNKNOWN,
        PAD,
        *CODES,
        "<turn>",
        ">>",
        "<<",
        "<",
        "</",
        "<seen>",
        " ",
        "  ",
        "\t",
        "▁",
    ]
    parts += ["naïve", "ﬁ", "ＡＢＣ", "漢字", "☃", "🎉", "\u200b", "\x00", "\ufeff", "\ufffd"]
    parts += ["\u2028", "e\u0301", "the", "Don't", "n't .", ", '", "1,000.5", "x" * 50]
    words = [*parts, *(word for line in text().source[:50] for word in line.split())]
    return ["".join(rng.choices(words, k=rng.randint(0, 9))) for _ in range(count)] + ["", " "]


@pytest.mark.parametrize("name", KINDS)
def test_ids_and_texts_are_those_of_the_library(name: str) -> None:
    theirs, ours = both(name)
    sentences = [*text().source[::4], *text().target[::4], *awkward(600)]
    assert [[*ours.encode(s), 0] for s in sentences] == theirs(sentences).input_ids
    targets = theirs(text_target=sentences).input_ids
    assert [[*ours.encode_target(s), 0] for s in sentences] == targets
    made = theirs.batch_decode(targets, skip_special_tokens=True)
    assert [ours.decode(ids) for ids in targets] == made
    assert made[: len(text())] != sentences[: len(text())] and len(set(made)) > 800


@pytest.mark.parametrize("name", KINDS)
def test_any_tokens_have_the_text_of_the_library(name: str) -> None:
    theirs, ours = both(name)
    rng = random.Random(1)
    size = len(theirs.decoder)
    rows = [rng.choices(range(size), k=rng.randint(0, 12)) for _ in range(400)]
    assert [ours.decode(row) for row in rows] == theirs.batch_decode(rows, skip_special_tokens=True)
    assert ours.decode([size + 5]) == ""


@pytest.mark.parametrize("name", ["unigram", "two vocabularies", "added tokens"])
def test_a_program_keeps_all_of_it(name: str) -> None:
    _, ours = both(name)
    packed = ours.to_text()
    assert packed.isascii() and packed.isprintable()
    assert Pieces.of_text(packed) == ours.pieces
    special = SpecialTokens((0,), 0, (0,))
    graph = Graph("integer", metadata=Vocabulary(ours, special).to_metadata())
    again = Vocabulary.of_program(graph)
    for line in awkward(50, 3):
        assert again.encode(line) == ours.encode(line)
        assert again.encode_target(line) == ours.encode_target(line)


def test_damaged_texts_are_refused() -> None:
    packed = both("unigram")[1].to_text()
    special = SpecialTokens((0,), 0).to_metadata()
    for damaged in (packed[:-30], packed[:60] + "~" + packed[61:], "spm:", "spm:{}"):
        graph = Graph("integer", metadata={"tokenizer": damaged, "generation": special})
        with pytest.raises(InputError, match="damaged"):
            Vocabulary.of_program(graph)
    pieces = both("unigram")[1].pieces
    for changed in (
        {"source": pieces.source[:900]},
        {"unknown": -1},
        {"words": ("a", 5)},
        {"marks": {"a": "b"}},
    ):
        text = Pieces(**{**pieces.__dict__, **changed}).to_text()
        graph = Graph("integer", metadata={"tokenizer": text, "generation": special})
        with pytest.raises(InputError, match="tokenizer cannot be used"):
            Vocabulary.of_program(graph)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "target.spm").unlink(), r"target\.spm: cannot be read"),
        (lambda f: (f / "vocab.json").unlink(), r"vocab\.json: no such file"),
        (lambda f: (f / "vocab.json").write_text("{"), r"vocab\.json: not readable as JSON"),
        (lambda f: (f / "vocab.json").write_text('{"a": 0, "b": 2}'), "numbered from 0 to 1"),
        (lambda f: (f / "vocab.json").write_text('{"a": 0, "b": 1}'), "does not hold </s>"),
        (lambda f: (f / "source.spm").write_bytes(b"x" * 99), "not a usable tokenizer"),
        (lambda f: write_config(f, sp_model_kwargs={"alpha": 0.1}), "sp_model_kwargs"),
        (lambda f: write_config(f, separate_vocabs=True), r"target_vocab\.json: no such file"),
        (
            lambda f: write_config(f, added_tokens_decoder={"0": {"content": "x", "lstrip": True}}),
            "'x': lstrip, rstrip and single_word are not",
        ),
        (lambda f: write_config(f, added_tokens_decoder={"z": 1}), "added_tokens_decoder"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, change, message: str) -> None:
    write_tokenizer(tmp_path, Kind())
    assert languages(tmp_path) == "en-de"
    change(tmp_path)
    with pytest.raises(InputError, match=message):
        Vocabulary.of_file(tmp_path, SpecialTokens((0,), 0))


def write_config(folder: Path, **entries: object) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(entries))
