"""``intformer translate`` and ``generate``: text in, text out, nothing lost."""

from __future__ import annotations

import json
import random

import pytest
from small_programs import language, translation
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from typer.testing import CliRunner

from intformer.cli.main import app
from intformer.generate.special import METADATA_KEY, SpecialTokens
from intformer.program import Program

SPECIAL = ["<pad>", "<s>", "</s>"]


def byte_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=259, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["a b"], trainer)
    return tokenizer


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("programs"), byte_tokenizer()
    words = tokenizer.get_vocab_size()
    special = SpecialTokens((1,), 2, (2,), (0, 1))
    for name, graph in (("mt", translation(words=words)), ("lm", language(words=words))):
        graph.metadata |= {
            "scales": json.dumps({"logits": {"scale": 0.003, "zero_point": 0}}),
            "tokenizer": tokenizer.to_str(),
            METADATA_KEY: special.to_metadata(),
        }
        Program(graph).save(folder / f"{name}.onnx")
    return folder


def run(*arguments, **settings):
    done = CliRunner().invoke(app, [str(a) for a in arguments], **settings)
    assert "Traceback" not in done.output
    return done


def awkward_lines(count: int) -> list[bytes]:
    rng = random.Random(4)
    kinds = [b"", b"   ", "naïve café ☃".encode(), b"\xff\xfe bad \x80", b"x" * 90, b"tab\tand\rcr"]
    return [
        rng.choice(kinds)
        if rng.random() < 0.4
        else bytes(rng.choices(b"abc defg", k=rng.randint(1, 20)))
        for _ in range(count)
    ]


def test_every_line_has_its_translation_in_its_place(files):
    lines = awkward_lines(60)
    source = files / "source.txt"
    source.write_bytes(b"\n".join(lines) + b"\n")
    done = run("translate", files / "mt.onnx", "--src", source, "--max-length", 8, "--beam", 2)
    assert done.exit_code == 0, done.stderr
    found = done.stdout.split("\n")
    assert len(found) == len(lines) + 1 and found[-1] == ""
    for line, made in zip(lines, found, strict=False):
        assert bool(made) <= bool(line.strip())
    assert sum(map(bool, found)) > 30
    notes = done.stderr
    cut = [i for i, line in enumerate(lines, 1) if len(line) == 90]
    assert all(f"line {i} has 90 tokens; only the first 23 were translated" in notes for i in cut)
    assert notes.count("not UTF-8") == sum(b"\xff" in line for line in lines)


def test_a_line_does_not_see_the_others(files):
    lines = [line for line in awkward_lines(30) if line.strip()]
    arguments = ("translate", files / "mt.onnx", "--max-length", 6, "--json", "--n-best", 2)
    together = run(*arguments, "--batch-size", 7, input=b"\n".join(lines)).stdout.splitlines()
    assert len(together) == len(lines)
    for line, made in list(zip(lines, together, strict=True))[:8]:
        alone = json.loads(run(*arguments, input=line).stdout)
        assert alone["translations"] == json.loads(made)["translations"]
        assert len(alone["translations"]) == 2


def test_prefixes_begin_translations(files, tmp_path):
    prefix = tmp_path / "prefix.txt"
    prefix.write_text("abc\n\nba\n")
    arguments = ("translate", files / "mt.onnx", "--beam", 1, "--max-length", 5)
    free = run(*arguments, input="one\ntwo\nthree\nfour\n").stdout.splitlines()
    made = run(*arguments, "--prefix", prefix, input="one\ntwo\nthree\nfour\n").stdout.splitlines()
    assert made[1::2] == free[1::2]
    assert made[0] != free[0]


def test_generate_streams_and_repeats_itself(files):
    arguments = ("generate", files / "lm.onnx", "--prompt", "ab", "--max-length", 9)
    drawn = (*arguments, "--temperature", "0.9", "--top-k", 20, "--seed", 3)
    first, second = run(*drawn), run(*drawn)
    assert first.exit_code == 0 and first.stdout == second.stdout
    other = run(*arguments, "--temperature", "0.9", "--top-k", 20, "--seed", 4)
    assert other.stdout != first.stdout
    told = json.loads(run(*drawn, "--json").stdout)
    assert len(told["tokens"]) <= 9 and told["score"] < 0
    assert first.stdout.rstrip("\n") == told["text"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "lm.onnx"], "no source to translate; use 'intformer generate'"),
        (["generate", "mt.onnx", "-p", "x"], "translates; use 'intformer translate'"),
        (["generate", "lm.onnx", "-p", "x" * 40], "the prompt has 41 tokens"),
        (["translate", "mt.onnx", "--src", "none.txt"], "none.txt: cannot be read"),
        (["translate", "mt.onnx", "--length-penalty", "much"], "give a decimal number"),
        (["translate", "mt.onnx", "--n-best", "3"], "add --json"),
        (["generate", "lm.onnx", "-p", "x", "--temperature", "-1"], "must be positive"),
    ],
)
def test_bad_input_is_one_line(files, arguments, message):
    verb, file, *rest = arguments
    done = run(verb, files / file, *rest, input="")
    assert done.exit_code == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_programs_without_special_tokens_say_so(tmp_path):
    Program(translation()).save(tmp_path / "plain.onnx")
    done = run("translate", tmp_path / "plain.onnx", input="x")
    assert done.exit_code == 2 and "which tokens start and end a text" in done.stderr
