"""From a model's folder to translated text and scores, through the commands a user types."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from model_folders import sentences, write_data, write_model
from typer.testing import CliRunner

from intformer.cli.main import app
from intformer.errors import InputError
from intformer.evaluate.float_sequences import FloatTranslator
from intformer.evaluate.parallel import open_parallel
from intformer.evaluate.perplexity import perplexity
from intformer.evaluate.sequences import blocks, pair_feeds, sequence_kind, token_stream
from intformer.evaluate.tokenizer_text import pack, unpack
from intformer.frontend.sources import load_source
from intformer.generate.options import Options
from intformer.generate.sample import generate
from intformer.generate.vocabulary import Vocabulary
from intformer.program import load


def run(*arguments, **settings):
    done = CliRunner().invoke(app, [str(a) for a in arguments], **settings)
    assert "Traceback" not in done.output
    return done


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A translation and a language model as programs, made by the command."""
    folder = tmp_path_factory.mktemp("work")
    data = write_data(folder / "data")
    for name, variant, translates, text in (
        ("mt", "integer-transformer", True, data),
        ("lm", "softmax", False, data / "text.txt.gz"),
    ):
        model = write_model(folder / "zoo" / name, variant, translates=translates)
        options = ("--data", text, "--samples", 24, "-o", folder / f"{name}.onnx")
        done = run("quantize", model, *options)
        assert done.exit_code == 0, done.stderr
    return folder


def test_programs_carry_all_that_text_needs(work):
    source = load_source(str(work / "zoo" / "mt"))
    assert sequence_kind(source.graph) == "translation" and source.preprocess.pair == "en-de"
    graph = load(work / "mt.onnx").graph
    vocabulary = Vocabulary.of_program(graph)
    assert vocabulary.special == source.preprocess.special
    text = "a dog runs over ü☃"
    again = Vocabulary.of_file(source.preprocess.tokenizer_file, source.preprocess.special)
    assert vocabulary.encode(text) == again.encode(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_translate_generate_verify_and_inspect_need_no_options(work):
    lines = sentences(6, 3)
    made = run("translate", work / "mt.onnx", input="\n".join(lines))
    assert made.exit_code == 0 and len(made.stdout.splitlines()) == len(lines)
    told = run("generate", work / "lm.onnx", "--prompt", "a dog", "--max-length", 5)
    assert told.exit_code == 0 and told.stdout
    for name in ("mt", "lm"):
        assert "proved" in run("verify", work / f"{name}.onnx").stdout
        shown = json.loads(run("inspect", work / f"{name}.onnx", "--json").stdout)
        assert shown["task"] == (
            {"pair": "en-de", "length": 40} if name == "mt" else {"length": 16}
        )


def test_eval_scores_translations_beside_the_float_model(work):
    options = ("--data", work / "data", "--split", "test", "--against", work / "zoo" / "mt")
    done = run("eval", work / "mt.onnx", *options, "--limit", 12, "--beam", 2, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sentences"] == 12 and found["beam"] == 2
    assert found["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a")
    assert 0 <= found["same_sentences"] <= 100 and 0 < found["p_value"] <= 1
    assert found["float_bleu"] >= 0 and found["float_chrf"] >= 0


def test_perplexity_is_that_of_the_real_logits(work):
    program, source = load(work / "lm.onnx"), load_source(str(work / "zoo" / "lm"))
    vocabulary = Vocabulary.of_program(program.graph)
    rows = blocks(token_stream(vocabulary, sentences(30, 5)), 16)[:6]
    found = perplexity(program, rows, source=source, batch_size=4)
    logits = program.run({"input_ids": rows[:, :-1]})["logits"] * program.scales["logits"]["scale"]
    picked = torch.log_softmax(torch.from_numpy(logits), -1).gather(
        2, torch.from_numpy(rows[:, 1:, None])
    )
    assert found.perplexity == pytest.approx(math.exp(-float(picked.mean())), rel=1e-4)
    with torch.no_grad():
        real = source.module(torch.from_numpy(rows[:, :-1])).log_softmax(-1).numpy()
    wanted = np.take_along_axis(real, rows[:, 1:, None], 2).mean()
    assert found.float_perplexity == pytest.approx(math.exp(-wanted), rel=1e-4)
    assert found.tokens == 6 * 16 and abs(found.increase) < 5
    told = run("eval", work / "lm.onnx", "--data", work / "data" / "text.txt.gz", "--json")
    assert json.loads(told.stdout)["perplexity"] > 1


def test_float_decoding_follows_the_largest_logit(work):
    source = load_source(str(work / "zoo" / "mt"))
    special, model = source.preprocess.special, source.module
    rows = np.random.default_rng(2).integers(3, 280, (3, 6))
    translator = FloatTranslator(model)
    decoder, logits = translator.start([special.start] * 3, rows.tolist())
    options = Options(special.end, max_length=7, forbidden=special.forbidden)
    found = generate(decoder, logits, translator.scale, options)
    for row, hypothesis in zip(rows, found, strict=True):
        prefix = [*special.start]
        ids = torch.from_numpy(row)[None]
        for token in hypothesis.tokens:
            with torch.no_grad():
                real = model(ids, torch.ones_like(ids), torch.tensor([prefix]))[0, -1]
            real[list(special.forbidden)] = -math.inf
            assert token == int(real.argmax())
            prefix.append(token)
        assert hypothesis.score < 0


def test_calibration_pairs_hold_no_padding(work):
    vocabulary = Vocabulary.of_program(load(work / "mt.onnx").graph)
    text = open_parallel(work / "data", "en-de", "train")
    feeds = list(pair_feeds(vocabulary, text.source, text.target, 40, 4))
    assert sum(len(feed["target"]) for feed in feeds) == len(text)
    for feed in feeds:
        assert feed["source_mask"].all() and len(feed["source"]) <= 4
        assert (feed["source"][:, -1] == vocabulary.special.end).all()
        assert (feed["target"][:, 0] == vocabulary.special.start[0]).all()


def test_packed_tokenizers(work):
    text = (work / "zoo" / "mt" / "tokenizer.json").read_text()
    packed = pack(text)
    assert json.loads(unpack(packed)) == json.loads(text) and len(packed) < len(text) / 4
    assert unpack(text) == text
    for damaged in (packed[:-9], packed[:40] + "~" + packed[41:], "xz:", "xz: "):
        with pytest.raises(InputError, match="damaged"):
            unpack(damaged)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "data", "--split", "none"], "has no none.en or none.en.gz; of en there is"),
        (["--data", "data", "--pair", "en"], "as in en-de"),
        (["--data", "data/text.txt.gz"], "row 1: no tab between a sentence and its translation"),
        (["--data", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_data_that_does_not_fit(work, monkeypatch, arguments, message):
    monkeypatch.chdir(work)
    done = run("eval", "mt.onnx", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_model_without_tokenizer_says_so(work):
    folder = write_model(work / "zoo" / "bare", "softmax", translates=True)
    (folder / "tokenizer.json").unlink()
    done = run("quantize", folder, "--data", work / "data", "-o", work / "bare.onnx")
    assert done.exit_code == 2 and "needs its tokenizer.json" in done.stderr
