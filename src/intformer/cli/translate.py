"""``intformer translate``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.options import ProgramFile, Threads, TokenizerFile
from intformer.cli.translate_options import (
    BatchSize,
    Beam,
    LinesAsJson,
    MaxLength,
    MinLength,
    NBest,
    Patient,
    Penalty,
    Prefix,
    SourceText,
    TargetText,
)
from intformer.errors import InputError

if TYPE_CHECKING:
    from intformer.generate.lines import Line
    from intformer.generate.vocabulary import Vocabulary

STDIN = Path("-")


def translate(
    file: ProgramFile,
    src: SourceText = STDIN,
    out: TargetText = None,
    beam: Beam = 4,
    n_best: NBest = 1,
    length_penalty: Penalty = "1",
    max_length: MaxLength = 256,
    min_length: MinLength = 0,
    prefix: Prefix = None,
    patient: Patient = False,
    batch_size: BatchSize = 32,
    threads: Threads = None,
    tokenizer: TokenizerFile = None,
    as_json: LinesAsJson = False,
) -> None:
    """Translate lines of text, with integers only.

    Every line of the input has one line of the output, in its place: an empty one stays empty, and
    what is too long or not UTF-8 is translated as far as it goes and noted on standard error. A
    line's translation does not depend on the others, on the batch size or on the machine. Scores
    are sums of log2 probabilities in units of 2^-16.

    \b
    Examples:
      intformer translate en-de.onnx --src test.en --out test.de
      echo "A dog runs." | intformer translate en-de.onnx --beam 1
      intformer translate en-de.onnx --src test.en --n-best 4 --json
    """
    from intformer.generate.lines import Translator, read_lines
    from intformer.generate.model import SequenceModel
    from intformer.generate.options import Options
    from intformer.generate.vocabulary import Vocabulary

    if n_best > 1 and not as_json:
        raise InputError("--n-best gives several results a line; add --json")
    graph = load_program(file).graph
    vocabulary = Vocabulary.of_program(graph, tokenizer)
    options = Options(
        vocabulary.special.end,
        beam=beam,
        n_best=n_best,
        max_length=max_length,
        min_length=min_length,
        length_penalty=decimal("--length-penalty", length_penalty),
        early_stop=not patient,
        forbidden=vocabulary.special.forbidden,
    )
    model = SequenceModel(graph, threads)
    if not model.longest_source:
        raise InputError(f"{file} has no source to translate; use 'intformer generate'")
    translator = Translator(model, vocabulary, options, batch_size)
    with ExitStack() as stack:
        lines = read_lines(stack.enter_context(_open(src)))
        prefixes = (line.source for line in _prefixes(prefix, stack))
        advance = stack.enter_context(_progress(src))
        target = stack.enter_context(console.writing(out)) if out else None
        stream = stack.enter_context(target.open("w", encoding="utf-8")) if target else sys.stdout
        write(translator.translate(lines, prefixes, advance), vocabulary, stream, as_json=as_json)


def decimal(option: str, text: str) -> Fraction:
    """A decimal number of the command line, exactly.

    Raises:
        InputError: it is none.
    """
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{option} {text}: give a decimal number, for example 0.6") from None


def write(lines: Iterable[Line], vocabulary: Vocabulary, stream: TextIO, *, as_json: bool) -> None:
    """Results in order; notes go to standard error, or into the JSON."""
    for line in lines:
        if as_json:
            stream.write(json.dumps(_described(line, vocabulary), ensure_ascii=False) + "\n")
            continue
        for note in line.notes:
            console.notice(f"line {line.number} {note}")
        best = line.hypotheses[0].tokens if line.hypotheses else ()
        stream.write(" ".join(vocabulary.decode(best).splitlines()) + "\n")
    stream.flush()


def _described(line: Line, vocabulary: Vocabulary) -> dict[str, Any]:
    results = [
        {"text": vocabulary.decode(h.tokens), "score": h.score, "ended": h.ended}
        for h in line.hypotheses
    ]
    return {"line": line.number, "translations": results, "notes": line.notes}


def _open(path: Path) -> BinaryIO:
    if path == STDIN:
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _prefixes(path: Path | None, stack: ExitStack) -> Iterator[Line]:
    from intformer.generate.lines import read_lines

    return read_lines(stack.enter_context(_open(path))) if path else iter(())


@contextmanager
def _progress(path: Path) -> Iterator[Callable[[int], None] | None]:
    """A bar, if it is known how many lines there are."""
    if path == STDIN:
        yield None
        return
    with path.open("rb") as file:
        total = sum(1 for _ in file)
    with console.progress("translating") as advance:
        yield lambda done: advance(done, total)
