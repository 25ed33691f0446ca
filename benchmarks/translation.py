"""BLEU of the zoo's translation models, in floating point and as integer programs.

    python benchmarks/translation.py [--models multi30k_en_de_softmax] [--beams 1 4]
                                     [--results FILE] [--limit N] [--split val] [--seed 1]
                                     [--pairs 256]

Translates test_2016_flickr with the float model and with its program, each greedily and with beam
4, by the same searches. A cell that is in the JSON file (benchmarks/translation.json) is not
measured again; models whose folder is not there are left out. At the end the table of
docs/sequence.md is written, unless ``--results`` names another file. ``--split``, ``--seed``
and ``--pairs``, with such a file, show what chance does: other sentences, other or fewer pairs to
calibrate with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from intformer.cli.loading import calibration, describe, load_source
from intformer.evaluate.data_files import find_data
from intformer.evaluate.float_sequences import FloatTranslator
from intformer.evaluate.parallel import open_parallel
from intformer.evaluate.sequence_calibration import preprocess_of
from intformer.evaluate.sequences import pair_feeds
from intformer.evaluate.translation import plain_options, translation_score
from intformer.generate.model import SequenceModel
from intformer.generate.vocabulary import Vocabulary
from intformer.quantize.api import quantize

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "translation.json"
SPLIT, CALIBRATION = "test_2016_flickr", 1024
PAIRS = {"en_de": "En→De", "en_fr": "En→Fr", "de_en": "De→En"}
RECIPES = {"softmax": "intformer", "integer": "integer-transformer"}
MODELS = [f"multi30k_{pair}_{variant}" for pair in PAIRS for variant in RECIPES]
NAMES = {"softmax": "softmax", "integer": "Integer Transformer"}
BEGIN, END = "<!-- written by benchmarks/translation.py -->", "<!-- end -->"

Results = dict[str, dict[str, Any]]


def calibrated(
    source: Any, vocabulary: Vocabulary, data: str, pairs: int, seed: int | None
) -> Iterator[Any]:
    """Pairs for calibration: spread evenly over the training text, or drawn by a seed."""
    if seed is None:
        return calibration(source, data, pairs)
    text = open_parallel(data, source.preprocess.pair, "train")
    rows = np.random.default_rng(seed).choice(len(text), pairs, replace=False)
    both = [text.source[i] for i in rows], [text.target[i] for i in rows]
    return pair_feeds(vocabulary, *both, source.preprocess.max_length, 8)


def measure(model: str, beams: list[int], args: argparse.Namespace) -> Results:
    """Cells of one model: scores by beam."""
    source = load_source(f"zoo:{model}", None, None)
    preprocess = preprocess_of(source)
    vocabulary = Vocabulary.of_file(preprocess.tokenizer_file, preprocess.special)
    data = str(find_data("multi30k"))
    samples = calibrated(source, vocabulary, data, args.pairs, args.seed)
    program = quantize(source, samples, RECIPES[model.split("_")[-1]])
    describe(program, source, f"zoo:{model}", None)
    text = open_parallel(data, preprocess.pair, args.split).limited(args.limit)
    size = share_of_checkpoint(program, ROOT / "zoo" / model)
    found = {}
    for beam in beams:
        score = translation_score(
            SequenceModel(program.graph),
            vocabulary,
            text,
            plain_options(vocabulary.special, beam),
            floats=FloatTranslator(source.module),
            batch_size=100,
        )
        found[f"{model} beam{beam}"] = {**score.to_json(), "percent_of_checkpoint": size}
    return found


def share_of_checkpoint(program: Any, folder: Path) -> float:
    """Bytes of the program, its tokenizer inside, in percent of float weights and tokenizer."""
    with tempfile.TemporaryDirectory() as place:
        program.save(Path(place) / "program.onnx")
        size = os.path.getsize(Path(place) / "program.onnx")
    files = (folder / "model.safetensors", folder / "tokenizer.json")
    return round(100 * size / sum(map(os.path.getsize, files)), 2)


def table(results: Results) -> list[str]:
    """Rows of the page, one for each pair, variant and search that was measured."""
    head = "| pair | model | search | float | int8 | difference | same sentences | p |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for pair, title in PAIRS.items():
        for variant, name in NAMES.items():
            for beam, search in ((1, "greedy"), (4, "beam 4")):
                cell = results.get(f"multi30k_{pair}_{variant} beam{beam}")
                if cell:
                    lines.append(f"| {title} | {name} | {search} | {row(cell)} |")
    return lines


def row(cell: dict[str, Any]) -> str:
    own, theirs = cell["bleu"], cell["float_bleu"]
    texts = [f"{theirs:.2f}", f"{own:.2f}", f"{own - theirs:+.2f}"]
    return " | ".join([*texts, f"{cell['same_sentences']:.1f} %", f"{cell['p_value']:.2f}"])


def write_page(results: Results) -> None:
    page = ROOT / "docs" / "sequence.md"
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END, 1)[1]
    signature = next((cell["signature"] for cell in results.values()), "")
    parts = [before + BEGIN, "", *table(results), "", f"BLEU: `{signature}`.", "", END + after]
    page.write_text("\n".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--limit", type=int, help="sentences; a table needs all")
    parser.add_argument("--split", default=SPLIT, help="sentences to translate")
    parser.add_argument("--seed", type=int, help="draws the pairs of the calibration")
    parser.add_argument("--pairs", type=int, default=CALIBRATION, help="pairs to calibrate with")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    table_of = (args.split, args.seed, args.pairs)
    if args.results == RESULTS and table_of != (SPLIT, None, CALIBRATION):
        parser.error("--split, --seed and --pairs need a --results of their own")
    if find_data("multi30k") is None:
        sys.exit("multi30k is missing: set INTFORMER_DATA")
    results = json.loads(args.results.read_text()) if args.results.is_file() else {}
    for model in args.models:
        missing = [beam for beam in args.beams if f"{model} beam{beam}" not in results]
        if not (ROOT / "zoo" / model / "model.safetensors").is_file():
            print(f"zoo:{model} is not there")
        elif missing:
            results |= measure(model, missing, args)
            args.results.write_text(json.dumps(results, indent=1) + "\n")
    if args.results == RESULTS and args.limit is None and results:
        write_page(results)


if __name__ == "__main__":
    main()
