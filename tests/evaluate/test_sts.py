"""Sentence similarity with a word-average encoder whose scores can be computed by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from intformer.errors import InputError
from intformer.evaluate.pairs import open_pairs, open_texts
from intformer.evaluate.sts import similarity
from intformer.evaluate.tokens import Tokenization, sequence_limit, text_batches, token_feed
from intformer.ir.graph import Graph, TensorType
from tiny_models import ReferenceProgram

WORDS = [
    "[PAD]",
    "a",
    "man",
    "woman",
    "dog",
    "cat",
    "runs",
    "sleeps",
    "eats",
    "red",
    "green",
    "house",
    "tree",
]
ROWS = np.random.default_rng(3).integers(-127, 128, (len(WORDS), 16)).astype(np.int8)
PAIRS = [
    ("a man runs", "a man runs", 5.0),
    ("a dog sleeps", "a cat sleeps", 3.5),
    ("red house", "a green tree", 1.0),
    ("a woman eats", "a dog eats a tree", 2.0),
    ("a cat", "green house a man eats a red tree", 0.5),
]


def encoder() -> Graph:
    graph = Graph("integer", limits={"N": 64, "S": 6})
    for name, dtype in (("input_ids", "int64"), ("attention_mask", "uint8")):
        graph.inputs[name] = graph.types[name] = TensorType(dtype, ("N", "S"))
    graph.input_ranges["input_ids"] = (0, len(WORDS) - 1)
    rows = graph.add_constant("rows", ROWS)
    multiplier = graph.add_constant("multiplier", np.full(len(WORDS), 2, np.int32))
    kind = TensorType("int16", ("N", "S", 16))
    operands = ("input_ids", rows, multiplier)
    graph.outputs["hidden"] = graph.add_node("embedding", operands, kind, shift=1, dtype="int16")
    return graph


def float_encoder() -> SimpleNamespace:
    graph = Graph("float", limits={"N": 64, "S": 6})
    for name in ("input_ids", "attention_mask"):
        graph.inputs[name] = graph.types[name] = TensorType("int64", ("N", "S"))
    table = graph.add_constant("table", ROWS.astype(np.float32))
    kind = TensorType("float32", ("N", "S", 16))
    graph.outputs["hidden"] = graph.add_node("embedding", (table, "input_ids"), kind)
    return SimpleNamespace(graph=graph, name="words")


def tokenizer() -> Tokenizer:
    result = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[PAD]"))
    result.pre_tokenizer = Whitespace()
    return result


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("".join(f"{a},{b},{s}\n" for a, b, s in PAIRS))
    return path


def by_hand() -> float:
    def mean(text: str) -> np.ndarray:
        return np.mean([ROWS[WORDS.index(w)].astype(float) for w in text.split()[:6]], axis=0)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    return spearmanr([cosine(mean(a), mean(b)) for a, b, _ in PAIRS], [s for *_, s in PAIRS])[0]


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_spearman_is_that_of_word_averages_whatever_the_padding(pairs_file, batch_size):
    tokens = Tokenization(tokenizer(), 6)
    result = similarity(
        ReferenceProgram(encoder()),
        open_pairs(pairs_file),
        tokens,
        source=float_encoder(),
        batch_size=batch_size,
    )
    assert result.pairs == 5
    assert result.spearman == pytest.approx(by_hand(), abs=1e-12)
    assert result.float_spearman == pytest.approx(result.spearman, abs=1e-12)
    assert result.embedding_cosine == pytest.approx(1.0)


def test_tokenizer_travels_in_the_metadata(pairs_file, tmp_path):
    graph = encoder()
    with pytest.raises(InputError, match="carries no tokenizer; give one with --tokenizer"):
        Tokenization.of_program(graph)
    graph.metadata["tokenizer"] = Tokenization(tokenizer(), 128).to_metadata()
    tokens = Tokenization.of_program(graph)
    assert tokens.max_length == sequence_limit(graph) == 6
    ids, mask = tokens.encode(["a man", "a dog runs"])
    assert ids.tolist() == [[1, 2, 0], [1, 4, 6]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    graph.metadata["tokenizer"] = json.dumps({"broken": True})
    with pytest.raises(InputError, match="tokenizer cannot be used"):
        Tokenization.of_program(graph)


def test_feed_has_the_dtypes_of_the_graph():
    ids, mask = np.array([[1, 2]]), np.array([[1, 0]])
    feed = token_feed(encoder(), ids, mask)
    assert {n: (a.dtype.name, a.tolist()) for n, a in feed.items()} == {
        "input_ids": ("int64", [[1, 2]]),
        "attention_mask": ("uint8", [[1, 0]]),
    }


def test_calibration_batches(pairs_file):
    feeds = list(text_batches(encoder(), Tokenization(tokenizer(), 6), open_texts(pairs_file), 4))
    assert [len(f["input_ids"]) for f in feeds] == [4, 4, 2]


def test_heading_quotes_and_limit(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('first,second,score\n"a, b\nc",d,1\ne,f,2.5\n')
    pairs = open_pairs(path)
    assert pairs.first == ["a, b\nc", "e"]
    assert pairs.scores == [1.0, 2.5]
    assert open_pairs(path).limited(1).second == ["d"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,1\nc,d\n", "row 2: 2 columns"),
        ("a,b,1\nc,d,high\n", "row 2: score 'high' is not a number"),
        ("a,b,1\nc,d,nan\n", "row 2: score 'nan' is not a number"),
        ("", "no sentence pairs"),
        ("first,second,score\n", "no sentence pairs"),
        ('a,"b,1\n', "not a readable CSV file"),
    ],
)
def test_bad_pairs(tmp_path, content, message):
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        open_pairs(path)


def test_bad_texts(tmp_path):
    (tmp_path / "x.txt").write_text("\n \n")
    with pytest.raises(InputError, match="no text in this file"):
        open_texts(tmp_path / "x.txt")
    (tmp_path / "y.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="not readable as UTF-8"):
        open_texts(tmp_path / "y.txt")
    with pytest.raises(InputError, match=r"needs a \.csv of sentence pairs or a \.txt"):
        open_texts(tmp_path)


def test_program_without_hidden_states(pairs_file):
    graph = encoder()
    graph.outputs = {"ids": "input_ids"}
    with pytest.raises(InputError, match="one vector per token"):
        similarity(ReferenceProgram(graph), open_pairs(pairs_file), Tokenization(tokenizer(), 6))
