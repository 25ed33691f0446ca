"""A thousand awkward lines through the command and a trained model: nothing lost, order kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from intformer.cli.main import app
from intformer.evaluate.data_files import find_data
from intformer.evaluate.parallel import open_parallel

MODEL = Path(__file__).resolve().parents[2] / "zoo" / "multi30k_en_de_softmax"
COUNT, REAL = 1000, 250


def run(*arguments, **settings):
    done = CliRunner().invoke(app, [str(a) for a in arguments], **settings)
    assert "Traceback" not in done.output and done.exit_code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    data = find_data("multi30k")
    if data is None or not (MODEL / "model.safetensors").is_file():
        pytest.skip("needs multi30k in INTFORMER_DATA and zoo:multi30k_en_de_softmax")
    file = tmp_path_factory.mktemp("awkward") / "en-de.onnx"
    run("quantize", MODEL, "--data", data, "--samples", 32, "-o", file)
    return file


def awkward(rng: random.Random) -> bytes:
    """Anything but a sentence: the kinds come up in equal shares."""
    letters = "abcdefg hijk ÄÖß 漢字 ☃ 🎉 \u2028 \u0085 \x00 \x1b \ufeff\t\r<s></s><pad>"
    kinds = [
        b"",
        b" \t  ",
        "".join(rng.choices(letters, k=rng.randint(1, 60))).encode(),
        rng.randbytes(rng.randint(1, 40)).replace(b"\n", b"?"),
        b"dog " * rng.randint(260, 400),
        b"x" * rng.randint(1, 900),
    ]
    return rng.choice(kinds)


def test_a_thousand_awkward_lines(program):
    rng = random.Random(11)
    sentences = [s.encode() for s in open_parallel("multi30k", "en-de", "val").source[:REAL]]
    places = sorted(rng.sample(range(COUNT), REAL))
    lines = [awkward(rng) for _ in range(COUNT)]
    for place, sentence in zip(places, sentences, strict=True):
        lines[place] = sentence
    options = ("translate", program, "--beam", 1, "--max-length", 20, "--batch-size", 64)
    done = run(*options, input=b"\n".join(lines))
    made, notes = done.stdout.split("\n"), done.stderr
    assert len(made) == COUNT + 1 and made[-1] == ""
    for number, (line, text) in enumerate(zip(lines, made, strict=False), 1):
        blank = not line.decode(errors="replace").strip()
        assert not (blank and text)
        assert blank or text or f"line {number} " in notes
        assert ("not UTF-8" in notes_of(notes, number)) == is_broken(line)
    assert "only the first" in notes
    alone = run(*options, input=b"\n".join(sentences)).stdout.split("\n")
    assert [made[place] for place in places] == alone[:-1]
    assert sum(map(bool, alone)) == REAL


def is_broken(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return True
    return False


def notes_of(notes: str, number: int) -> str:
    return " ".join(n for n in notes.splitlines() if f"line {number} " in n)
