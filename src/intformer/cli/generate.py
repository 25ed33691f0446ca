"""``intformer generate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.options import ProgramFile, Threads, TokenizerFile
from intformer.cli.translate import decimal
from intformer.cli.translate_options import (
    MostTokens,
    Prompt,
    Seed,
    Temperature,
    TextAsJson,
    TopK,
    TopP,
)
from intformer.errors import InputError

if TYPE_CHECKING:
    from intformer.generate.decoder import Hypothesis
    from intformer.generate.model import SequenceModel
    from intformer.generate.vocabulary import Vocabulary


def generate(
    file: ProgramFile,
    prompt: Prompt = None,
    max_length: MostTokens = 64,
    temperature: Temperature = "0",
    top_k: TopK = 0,
    top_p: TopP = "1",
    seed: Seed = 0,
    threads: Threads = None,
    tokenizer: TokenizerFile = None,
    as_json: TextAsJson = False,
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
    tokens = _prompt_tokens(vocabulary, sys.stdin.read() if prompt is None else prompt, model)
    room = model.longest - len(tokens)
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
        _print_json(found, vocabulary)
    elif not found.ended:
        console.notice(f"stopped at {len(found.tokens)} tokens")


def _prompt_tokens(vocabulary: Vocabulary, text: str, model: SequenceModel) -> list[int]:
    """The prompt behind the mark that every text starts with.

    Raises:
        InputError: it is empty, or leaves no room for a single token.
    """
    tokens = [*vocabulary.special.start, *vocabulary.encode(text)]
    if not 0 < len(tokens) < model.longest:
        raise InputError(
            f"the prompt has {len(tokens)} tokens; this program takes 1 to {model.longest - 1}"
        )
    return tokens


def _print_json(found: Hypothesis, vocabulary: Vocabulary) -> None:
    tokens = list(found.tokens)
    result = {"text": vocabulary.decode_raw(tokens), "tokens": tokens, "score": found.score}
    sys.stdout.write(json.dumps({**result, "ended": found.ended}, ensure_ascii=False) + "\n")


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
