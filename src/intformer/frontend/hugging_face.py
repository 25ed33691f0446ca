"""Translation and language models of the transformers library, ready to be captured.

The layers are the library's own. What surrounds them there, caches and masks that depend on them,
is left out: a model gets token ids and computes the logits of all positions at once, and programs
for decoding are cut out of that (docs/sequence.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intformer.errors import CaptureError
from intformer.frontend.capture import capture
from intformer.frontend.preprocess import SequencePreprocess
from intformer.generate.piece_folder import check_sizes, has_pieces, languages
from intformer.generate.special import SpecialTokens
from intformer.ir.graph import Graph

LANGUAGE_MODELS = ("GPT2LMHeadModel", "LlamaForCausalLM")
TRANSLATION_MODELS = ("MarianMTModel",)
ARCHITECTURES = (*LANGUAGE_MODELS, *TRANSLATION_MODELS)

FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings whose angles depend on the position alone."""

TEXT_LENGTH = 512
"""Tokens of a text for calibration and measurement, unless the model takes fewer."""

ATTENTION = "intformer"
"""The name of ``attend`` in the library's table of attentions."""


def capture_sequence_model(model: Any, architecture: str) -> Graph:
    """The forward program of a model (docs/sequence.md), in floating point.

    Afterwards ``model`` takes and gives what the program does: ``input_ids`` int64 [N, T], or
    ``source``, ``source_mask`` [N, S] and ``target`` [N, T], to logits [N, T, V].

    Raises:
        CaptureError: a setting of the model has no integer form; the text says which.
    """
    check(model.config.to_dict())
    adapt(model, architecture)
    longest = int(model.config.max_position_embeddings)
    ids, target = torch.zeros(2, 7, dtype=torch.int64), torch.zeros(2, 5, dtype=torch.int64)
    if architecture in LANGUAGE_MODELS:
        example, decoded = {"input_ids": target}, "input_ids"
    else:
        example = {"source": ids, "source_mask": torch.ones_like(ids), "target": target}
        decoded = "target"
    return capture(
        model,
        example,
        outputs=["logits"],
        dynamic={decoded: {0: "N", 1: "T"}},
        limits={"S": longest, "T": longest},
    )


def preprocess_of(folder: Path, model: Any, architecture: str) -> SequencePreprocess | None:
    """Tokenizer and special tokens; ``None`` without tokenizer files or an end token.

    A Marian folder's own files are the SentencePiece ones; a tokenizer.json stands in for them.

    Raises:
        InputError: the vocabulary is larger than the model's.
    """
    config, tokenizer, pair = model.config, folder / "tokenizer.json", ""
    end, start = _first(config.eos_token_id), _first(config.bos_token_id)
    if architecture in TRANSLATION_MODELS and has_pieces(folder):
        tokenizer, pair = folder, languages(folder)
        check_sizes(folder, config.vocab_size, config.decoder_vocab_size or config.vocab_size)
    if not tokenizer.exists() or end is None:
        return None
    length = min(TEXT_LENGTH, int(config.max_position_embeddings))
    special = SpecialTokens((end if start is None else start,), end)
    if architecture in TRANSLATION_MODELS:
        first = config.decoder_start_token_id
        padding = config.pad_token_id if config.share_encoder_decoder_embeddings else first
        hidden = () if padding in (None, end) else (padding,)
        special = SpecialTokens((first,), end, (end,), hidden)
    return SequencePreprocess(tokenizer, special, length, pair)


def _first(token: int | list[int] | None) -> int | None:
    if isinstance(token, list):
        return token[0] if token else None
    return token


def check(config: Mapping[str, Any]) -> None:
    """Refuse what programs cannot do, by the setting's name.

    Raises:
        CaptureError: naming the first such setting, and a way out.
    """
    window = config.get("sliding_window")
    if window is not None and config.get("use_sliding_window", True):
        raise CaptureError(
            f"config.json: sliding_window = {window} is not supported; set it to null and "
            f"max_position_embeddings to at most {window}, below which the window hides nothing"
        )
    rotation = config.get("rope_parameters") or {}
    kind = rotation.get("rope_type", "default")
    if kind not in FIXED_ROTATIONS:
        raise CaptureError(
            f"config.json: rope_type = {kind!r} turns by angles that depend on the length of the "
            f"text; a program has one table of angles: use {', '.join(FIXED_ROTATIONS)}"
        )
    if config.get("add_cross_attention"):
        raise CaptureError(
            "config.json: add_cross_attention = true: a language model that reads an encoder is "
            "not supported; set it to false, or bring the pair as a MarianMTModel"
        )


def adapt(model: Any, architecture: str) -> None:
    """Give ``model`` the inputs and outputs of its program; its weights and layers stay.

    A translation model also becomes an ``evaluate.float_sequences.FloatModel``.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    model.set_attn_implementation(ATTENTION)
    _use_linear_layers(model)
    forwards: dict[bool, Callable[..., Tensor]] = {True: _language, False: _translation}
    model.forward = MethodType(forwards[architecture in LANGUAGE_MODELS], model)
    if architecture in TRANSLATION_MODELS:
        model.longest = int(model.config.max_position_embeddings)
        model.encode = MethodType(_encode, model)
        model.next_logits = MethodType(_next_logits, model)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of split heads [N, heads, T, D]; keys and values may have fewer heads."""
    mixed = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        is_causal=attention_mask is None and bool(module.is_causal),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return mixed.transpose(1, 2).contiguous(), None


def _language(self: Any, input_ids: Tensor) -> Tensor:
    logits: Tensor = type(self).forward(self, input_ids=input_ids, use_cache=False).logits
    return logits


def _translation(self: Any, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
    return _logits(self, source_mask, target, input_ids=source)


def _encode(self: Any, source: Tensor, source_mask: Tensor) -> Tensor:
    encoder = self.get_encoder()
    memory: Tensor = encoder(source, attention_mask=_visible(source_mask)).last_hidden_state
    return memory


def _next_logits(self: Any, memory: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
    return _logits(self, source_mask, target, encoder_outputs=(memory,))[:, -1]


def _logits(self: Any, source_mask: Tensor, target: Tensor, **source: Any) -> Tensor:
    result = type(self).forward(
        self,
        attention_mask=_visible(source_mask),
        decoder_input_ids=target,
        use_cache=False,
        **source,
    )
    logits: Tensor = result.logits
    return logits


def _visible(source_mask: Tensor) -> Tensor:
    """With four axes: the library takes it as it is."""
    return source_mask[:, None, None, :] != 0


def _use_linear_layers(model: nn.Module) -> None:
    """Replace GPT-2's ``Conv1D``, a linear layer with its weight the other way round."""
    from transformers.pytorch_utils import Conv1D

    found = [(name, m) for name, m in model.named_modules() if isinstance(m, Conv1D)]
    for name, module in found:
        inputs, outputs = module.weight.shape
        layer = nn.Linear(inputs, outputs, device=module.weight.device, dtype=module.weight.dtype)
        layer.weight = nn.Parameter(module.weight.detach().T.contiguous())
        layer.bias = module.bias
        model.set_submodule(name, layer)
