"""``intformer generate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.options import ProgramFile, Threads, TokenizerFile
from intformer.cli.translate import decimal
from intformer.errors import InputError

if TYPE_CHECKING:
    from intformer.generate.vocabulary import Vocabulary


def generate(
    file: ProgramFile,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="Else standard input.")
    ] = None,
    max_length: Annotated[int, typer.Option(min=1, help="Tokens at most.")] = 64,
    temperature: Annotated[
        str, typer.Option(metavar="NUMBER", help="0 takes the most likely token; else draw.")
    ] = "0",
    top_k: Annotated[int, typer.Option(min=0, help="Draw from the k most likely; 0: all.")] = 0,
    top_p: Annotated[
        str, typer.Option(metavar="SHARE", help="Draw from the most likely that make up this.")
    ] = "1",
    seed: Annotated[int, typer.Option(help="Of the integer generator.")] = 0,
    threads: Threads = None,
    tokenizer: TokenizerFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Text, tokens and score at the end, as JSON.")
    ] = False,
) -> None:
    """Continue a text with a language model, with integers only.

    Tokens appear as they are chosen. The same seed and prompt give the same text on every machine.

    \b
    Examples:
      intformer generate lm.onnx --prompt "The package contains"
      intformer generate lm.onnx -p "Once" --temperature 0.8 --top-p 0.95 --seed 7
    """
    from intformer.generate.model import SequenceModel, logit_scale
    from intformer.generate.options import Options
    from intformer.generate.sample import Generator, Sampling
    from intformer.generate.sample import generate as search
    from intformer.generate.vocabulary import Vocabulary

    heat, share = decimal("--temperature", temperature), decimal("--top-p", top_p)
    graph = load_program(file).graph
    vocabulary = Vocabulary.of_program(graph, tokenizer)
    model = SequenceModel(graph, threads)
    if model.longest_source:
        raise InputError(f"{file} translates; use 'intformer translate'")
    text = sys.stdin.read() if prompt is None else prompt
    tokens = [*vocabulary.special.start, *vocabulary.encode(text)]
    room = model.longest - len(tokens)
    if room < 1 or not tokens:
        raise InputError(
            f"the prompt has {len(tokens)} tokens; this program takes 1 to {model.longest - 1}"
        )
    sampling = None
    if heat:
        sampling = Sampling(logit_scale(graph, heat), top_k, share)
    decoder, logits = model.start([tokens])
    stream = _Stream(vocabulary, quiet=as_json)
    (found,) = search(
        decoder,
        logits,
        model.scale,
        Options(
            vocabulary.special.end,
            max_length=min(max_length, room),
            forbidden=vocabulary.special.forbidden,
        ),
        sampling=sampling,
        generators=[Generator(seed, tokens)],
        on_token=lambda _, token: stream.add(token),
    )
    stream.close()
    if as_json:
        whole = vocabulary.decode_raw(list(found.tokens))
        result = {"text": whole, "tokens": list(found.tokens), "score": found.score}
        sys.stdout.write(json.dumps({**result, "ended": found.ended}, ensure_ascii=False) + "\n")
    elif not found.ended:
        console.notice(f"stopped at {len(found.tokens)} tokens")


class _Stream:
    """Prints text as tokens come, holding back characters that are not whole yet."""

    def __init__(self, vocabulary: Vocabulary, *, quiet: bool) -> None:
        self._vocabulary, self._quiet = vocabulary, quiet
        self._tokens: list[int] = []
        self._shown = 0

    def add(self, token: int) -> None:
        self._tokens.append(token)
        text = self._vocabulary.decode_raw(self._tokens)
        if not self._quiet and not text.endswith("\ufffd"):
            sys.stdout.write(text[self._shown :])
            sys.stdout.flush()
            self._shown = len(text)

    def close(self) -> None:
        if not self._quiet:
            sys.stdout.write(self._vocabulary.decode_raw(self._tokens)[self._shown :] + "\n")
