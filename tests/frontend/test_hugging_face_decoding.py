"""What programs are measured against: the float model decodes as the library's ``generate``."""

from __future__ import annotations

from functools import cache
from itertools import chain
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from frontend_models import run
from hugging_face_models import END, MODELS, WORDS, make

from intformer.evaluate.float_sequences import FloatTranslator
from intformer.frontend.sources import Source, load_source
from intformer.generate.model import padded
from intformer.generate.options import Options
from intformer.generate.sample import generate

STEPS = 14
LANGUAGE = [name for name in MODELS if not name.startswith("marian")]
TRANSLATION = [name for name in MODELS if name.startswith("marian")]


LAST_NORMS = ("decoder.layers.0.final_layer_norm.weight", "ln_f.weight", "model.norm.weight")


@torch.no_grad()
def lively(name: str) -> torch.nn.Module:
    """A model that does not say the same word for ever.

    With one table for tokens in and out, the last token is likely to come again; channels with
    random signs in front of the table prevent that.
    """
    model, generator = make(name), torch.Generator().manual_seed(1)
    for path, value in model.named_parameters():
        if path.endswith(LAST_NORMS):
            value.copy_(torch.randint(0, 2, value.shape, generator=generator) * 2.0 - 1)
        elif path.endswith("norm.bias"):
            value.zero_()
        elif value.dim() == 2 and "embed_positions" not in path:
            value *= 2
    if name in TRANSLATION:
        model.final_logits_bias[:, END] -= 5  # or it ends at once
    return model


@cache
def source(name: str) -> Source:
    with TemporaryDirectory() as folder:
        lively(name).save_pretrained(folder)
        return load_source(f"hf:{folder}")


def theirs(name: str, forbidden: int | None = None, **inputs: torch.Tensor) -> list[list[int]]:
    """What the untouched model of the library generates greedily, up to its end token."""
    model = lively(name)
    model.generation_config.forced_eos_token_id = None
    options: dict[str, Any] = {"eos_token_id": END, "pad_token_id": END}
    if forbidden is not None:
        options["bad_words_ids"] = [[forbidden]]
    rows = model.generate(
        **inputs, **options, max_new_tokens=STEPS, num_beams=1, do_sample=False
    ).tolist()
    prompt = 1 if forbidden is not None else inputs["input_ids"].shape[1]
    return [_until_end(row[prompt:]) for row in rows]


def _until_end(row: list[int]) -> list[int]:
    return row[: row.index(END)] if END in row else row


@pytest.mark.parametrize("name", TRANSLATION)
def test_translations(name: str) -> None:
    rng = np.random.default_rng(4)
    sources = [rng.integers(1, WORDS - 1, n).tolist() for n in (3, 9, 1, 17, 9, 30)]
    translator = FloatTranslator(source(name).module)
    first = source(name).module.config.decoder_start_token_id
    decoder, logits = translator.start([[first]] * len(sources), sources)
    options = Options(END, max_length=STEPS, forbidden=(first,))
    found = [list(h.tokens) for h in generate(decoder, logits, translator.scale, options)]
    ids, lengths = padded(sources)
    mask = torch.from_numpy(np.arange(ids.shape[1]) < lengths[:, None]).long()
    together = theirs(name, first, input_ids=torch.from_numpy(ids), attention_mask=mask)
    assert found == together
    alone = [theirs(name, first, input_ids=torch.tensor([row]))[0] for row in sources]
    assert found == alone
    assert len({tuple(row) for row in found}) > 2 and len({*chain(*found)}) > 5


@pytest.mark.parametrize("name", LANGUAGE)
def test_texts(name: str) -> None:
    prompts, found = np.random.default_rng(5).integers(1, WORDS, (5, 6)), []
    graph = source(name).graph
    for prompt in prompts:
        tokens = prompt.tolist()
        for _ in range(STEPS):
            logits = run(graph, {"input_ids": torch.tensor([tokens])})["logits"]
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] == END:
                break
        ids = torch.from_numpy(prompt[None])
        wanted = theirs(name, input_ids=ids, attention_mask=torch.ones_like(ids))
        found.append(_until_end(tokens[len(prompt) :]))
        assert found[-1:] == wanted
    assert len({tuple(row) for row in found}) > 2 and len({*chain(*found)}) > 5
