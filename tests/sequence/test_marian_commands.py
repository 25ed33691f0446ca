"""A Marian folder by the command line: plain text in, plain text out, nothing but the program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marian_folders import LENGTH, Kind, text, transformers, write_marian
from typer.testing import CliRunner

from intformer.cli.main import app
from intformer.evaluate.parallel import open_parallel
from intformer.evaluate.translation import compare_translations
from intformer.frontend.sources import load_source
from intformer.generate.model import SequenceModel
from intformer.generate.options import Options
from intformer.generate.sample import generate
from intformer.generate.vocabulary import Vocabulary
from intformer.program import Program, load

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
KINDS = {"one vocabulary": Kind(), "two vocabularies": Kind("bpe", separate=True)}
STEPS = 10


def run(*arguments: Any, **settings: Any) -> Any:
    done = CliRunner().invoke(app, [str(a) for a in arguments], **settings)
    assert "Traceback" not in done.output
    return done


@dataclass(frozen=True)
class Case:
    """A folder as a checkpoint comes, the program made of it, and the library's tokenizer."""

    folder: Path
    file: Path
    pairs: Path
    theirs: Any

    @property
    def program(self) -> Program:
        return load(self.file)

    def translate(self, *options: Any, lines: bytes) -> Any:
        done = run(
            "translate", self.file, "--beam", 1, "--max-length", STEPS, *options, input=lines
        )
        assert done.exit_code == 0, done.stderr
        return done


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    work = tmp_path_factory.mktemp("marian")
    folder = write_marian(work / "opus", KINDS[request.param])
    pairs = work / "pairs.tsv"
    rows = zip(text().source[:48], text().target[:48], strict=True)
    pairs.write_text("".join(f"{s}\t{t}\n" for s, t in rows), encoding="utf-8")
    file = work / "en-de.onnx"
    done = run("quantize", f"hf:{folder}", "--data", pairs, "--samples", 40, "-o", file)
    assert done.exit_code == 0, done.stderr
    theirs = transformers.MarianTokenizer.from_pretrained(folder)
    return Case(folder, file, pairs, theirs)


def greedy(case: Case, rows: list[list[int]]) -> list[tuple[int, ...]]:
    """Tokens from the library's ids, without any text of ours."""
    special = Vocabulary.of_program(case.program.graph).special
    model = SequenceModel(case.program.graph, threads=1)
    options = Options(special.end, max_length=STEPS, forbidden=special.forbidden)
    decoder, logits = model.start([special.start] * len(rows), rows)
    return [h.tokens for h in generate(decoder, logits, model.scale, options)]


def test_text_becomes_the_tokens_of_the_library(case: Case) -> None:
    vocabulary = Vocabulary.of_program(case.program.graph)
    sentences = [*text().source[::20], *text().target[::20]]
    ids = case.theirs(sentences).input_ids
    end = list(vocabulary.special.source_end)
    assert [vocabulary.encode(s) + end for s in sentences] == ids
    targets = case.theirs(text_target=sentences).input_ids
    assert [vocabulary.encode_target(s) + end for s in sentences] == targets
    again = case.file.with_name("again.onnx")
    case.program.save(again)
    assert again.read_bytes() == case.file.read_bytes()


def test_translations_are_those_of_the_library_s_ids(case: Case) -> None:
    sentences = [s for s in text().source[60:90] if len(case.theirs(s).input_ids) <= LENGTH]
    wanted = greedy(case, case.theirs(sentences).input_ids)
    moved = case.file.with_name("alone") / "en-de.onnx"
    moved.parent.mkdir(exist_ok=True)
    shutil.copy(case.file, moved)
    lines = "\n".join(sentences).encode()
    made = run("translate", moved, "--beam", 1, "--max-length", STEPS, input=lines).stdout
    assert made.split("\n")[:-1] == case.theirs.batch_decode(wanted, skip_special_tokens=True)
    assert len({*made.split("\n")}) > 5


def test_a_prefix_is_text_of_the_target(case: Case) -> None:
    prefix = case.file.with_name("prefix.txt")
    prefix.write_text(text().target[0] + "\n", encoding="utf-8")
    made = case.translate("--prefix", prefix, "--json", lines=text().source[0].encode())
    begun = json.loads(made.stdout)["translations"][0]["text"]
    special = Vocabulary.of_program(case.program.graph).special
    start = [*special.start, *case.theirs(text_target=text().target[0]).input_ids[:-1]]
    model = SequenceModel(case.program.graph, threads=1)
    decoder, logits = model.start(
        [start[: 1 + LENGTH // 2]], case.theirs([text().source[0]]).input_ids
    )
    options = Options(special.end, max_length=STEPS, forbidden=special.forbidden)
    (found,) = generate(decoder, logits, model.scale, options)
    assert begun == case.theirs.decode(found.tokens, skip_special_tokens=True)


def test_awkward_lines_keep_their_places(case: Case) -> None:
    plain = text().source[7].encode()
    lines = [plain, b"", b"  \t", "漢字 ☃ 🎉".encode(), b"\xff\xfe bad \x80", plain * 30]
    lines += ["\u200b".encode(), b"</s> <pad> </s>", b">>fra<< " + plain, b"x" * 2000, plain]
    done = case.translate(lines=b"\n".join(lines))
    made = done.stdout.split("\n")
    assert len(made) == len(lines) + 1 and made[-1] == ""
    assert made[1] == made[2] == "" and made[0] == made[-2] and made[0]
    assert "line 5 holds bytes that are not UTF-8" in done.stderr
    for number in (6, 10):
        assert f"line {number} has" in done.stderr and f"only the first {LENGTH - 1}" in done.stderr
    for place in (3, 4, 6, 7, 8):
        ids = case.theirs(lines[place].decode(errors="replace")).input_ids
        (alone,) = greedy(case, [ids])
        assert made[place] == case.theirs.decode(alone, skip_special_tokens=True)


def test_long_lines_are_cut_as_the_library_cuts_them(case: Case) -> None:
    line = " ".join(text().source[:9])
    cut = case.theirs(line, truncation=True, max_length=LENGTH).input_ids
    (wanted,) = greedy(case, [cut])
    made = case.translate(lines=line.encode()).stdout
    assert made == case.theirs.decode(wanted, skip_special_tokens=True) + "\n"


def test_eval_compares_with_what_the_library_generates(case: Case) -> None:
    options = ("--data", case.pairs, "--limit", 10, "--json")
    done = run("eval", case.file, *options, "--against", f"hf:{case.folder}")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    pairs = open_parallel(case.pairs, "", "").limited(10)
    made = [generated(case, sentence) for sentence in pairs.source]
    scores = compare_translations(made, None, pairs.target, Options(0))
    assert found["float_bleu"] == scores.bleu and found["float_chrf"] == scores.chrf
    assert found["sentences"] == 10 and scores.chrf > 0 and len({*made}) > 5


def generated(case: Case, sentence: str) -> str:
    """A translation by the library alone: its tokenizer, its model, its greedy search."""
    model = transformers.MarianMTModel.from_pretrained(case.folder).eval()
    ids = case.theirs(sentence, truncation=True, max_length=LENGTH, return_tensors="pt")
    options = {"num_beams": 1, "do_sample": False, "max_new_tokens": LENGTH - 1}
    options["bad_words_ids"] = [[model.config.decoder_start_token_id]]
    (row,) = model.generate(**ids, **options)
    return case.theirs.decode(row, skip_special_tokens=True)


def test_inspect_tells_of_tokenizer_and_languages(case: Case) -> None:
    shown = json.loads(run("inspect", case.file, "--json").stdout)
    assert shown["tokenizer"] == "SentencePiece, one model for sources and one for targets"
    assert shown["task"]["pair"] == "en-de"
    assert "SentencePiece" in run("inspect", case.file).stdout


def test_calibration_uses_the_files_of_both_sides(case: Case) -> None:
    from intformer.cli.loading import calibration

    source = load_source(f"hf:{case.folder}")
    feeds = list(calibration(source, str(case.pairs), 40))
    found = {tuple(row) for feed in feeds for row in feed["target"].tolist()}
    start = source.preprocess.special.start
    rows = [[*start, *ids[:-1]] for ids in case.theirs(text_target=text().target[:48]).input_ids]
    assert found <= {tuple(row) for row in rows} and len(found) > 20
    with torch.no_grad():
        for feed in feeds[:3]:
            tensors = {k: torch.from_numpy(np.asarray(v, np.int64)) for k, v in feed.items()}
            assert source.module(**tensors).isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "target.spm").unlink(), "target.spm: cannot be read"),
        (lambda f: (f / "source.spm").unlink(), "and without source.spm and its companions"),
        (lambda f: (f / "vocab.json").write_text("[]"), "vocab.json: not a JSON object"),
        (lambda f: add_a_word(f / "vocab.json"), "tokens, the model has"),
    ],
)
def test_a_folder_that_lacks_something(
    case: Case, tmp_path: Path, change: Callable[[Path], Any], message: str
) -> None:
    folder = tmp_path / "opus"
    shutil.copytree(case.folder, folder)
    change(folder)
    out = tmp_path / "x.onnx"
    done = run("quantize", f"hf:{folder}", "--data", case.pairs, "-o", out)
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not out.exists()


def add_a_word(vocabulary: Path) -> None:
    words = json.loads(vocabulary.read_text())
    vocabulary.write_text(json.dumps({**words, "a new word": len(words)}))


def test_a_folder_of_texts_needs_the_languages(case: Case, tmp_path: Path) -> None:
    folder, data = tmp_path / "opus", tmp_path / "data"
    shutil.copytree(case.folder, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    silent = {k: v for k, v in config.items() if not k.endswith("_lang")}
    (folder / "tokenizer_config.json").write_text(json.dumps(silent))
    data.mkdir()
    for language, side in (("aa", text().source), ("bb", text().target)):
        (data / f"train.{language}").write_text("\n".join(side[:40]) + "\n", encoding="utf-8")
    options = ("quantize", f"hf:{folder}", "--data", data, "-o", tmp_path / "x.onnx")
    done = run(*options)
    assert done.exit_code == 2 and "give --pair, as in en-de" in done.stderr
    done = run(*options, "--pair", "aa-bb")
    assert done.exit_code == 0, done.stderr
    assert json.loads(load(tmp_path / "x.onnx").graph.metadata["task"])["pair"] == "aa-bb"
