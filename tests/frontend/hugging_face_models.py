"""Small random language and translation models of transformers, and folders they are read from."""

from __future__ import annotations

from functools import cache
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from frontend_models import awake

from intformer.frontend.sources import Source, load_source

transformers = pytest.importorskip("transformers")

WORDS, LENGTH, END = 61, 40, 0
TEXT = {"vocab_size": WORDS, "hidden_size": 32, "max_position_embeddings": LENGTH}
LLAMA = TEXT | {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}
MARIAN = {
    "vocab_size": WORDS,
    "d_model": 32,
    "max_position_embeddings": LENGTH,
    **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 48 for side in ("encoder", "decoder")},
    "scale_embedding": True,
    "decoder_start_token_id": WORDS - 1,
    "pad_token_id": WORDS - 1,
    "eos_token_id": END,
}
STRETCHED = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0}
STRETCHED |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 16}
MODELS = {
    "gpt2": ("GPT2", TEXT | {"num_hidden_layers": 2, "num_attention_heads": 4}),
    "llama": ("Llama", LLAMA),
    "llama, tied, biases": (
        "Llama",
        LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "llama, wide heads, stretched": (
        "Llama",
        LLAMA | {"head_dim": 16, "rope_parameters": STRETCHED},
    ),
    "llama, massive": ("Llama", LLAMA),
    "marian": ("Marian", MARIAN | {"activation_function": "swish"}),
    "marian, two vocabularies": (
        "Marian",
        MARIAN
        | {"decoder_vocab_size": 47, "share_encoder_decoder_embeddings": False}
        | {"tie_word_embeddings": False, "decoder_start_token_id": 46, "pad_token_id": 46},
    ),
}
CLASSES = {"GPT2": "GPT2LMHeadModel", "Llama": "LlamaForCausalLM", "Marian": "MarianMTModel"}


def make(name: str) -> torch.nn.Module:
    kind, fields = MODELS[name]
    torch.manual_seed(5)
    config = getattr(transformers, f"{kind}Config")(**fields)
    model = getattr(transformers, CLASSES[kind])(config)
    angles = [v for k, v in model.named_buffers() if "inv_freq" in k]
    signal = [v for k, v in model.named_parameters() if "embed_positions" in k]
    kept = [(value, value.detach().clone()) for value in (*angles, *signal)]
    awake(model)
    for value, old in kept:
        value.data.copy_(old)
    if "massive" in name:
        make_massive(model)
    return model


@torch.no_grad()
def make_massive(model: torch.nn.Module) -> None:
    """One word makes one channel thousands of times as large as all others, as in real models."""
    words, first = model.model.embed_tokens.weight, model.model.layers[0]
    words[:, 3] = 0
    words[5, 3] = 2.0
    first.self_attn.o_proj.weight[3] = 0
    for layer in (first.mlp.gate_proj, first.mlp.up_proj):
        layer.weight[0] = 2.0 * (torch.arange(words.shape[1]) == 3)
    first.mlp.down_proj.weight[7, 0] = 30.0
    norms = [n for n in model.modules() if "RMSNorm" in type(n).__name__]
    for norm in norms[2:]:
        norm.weight[7] *= 0.01


@cache
def source(name: str) -> Source:
    """The model as ``hf:`` reads it from a folder."""
    with TemporaryDirectory() as folder:
        make(name).save_pretrained(folder)
        return load_source(f"hf:{folder}")


def batch(name: str, rows: int = 6, length: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    if not name.startswith("marian"):
        return {"input_ids": rng.integers(0, WORDS, (rows, length))}
    lengths = rng.integers(1, 8, (rows, 1))
    lengths[0] = 7
    return {
        "source": rng.integers(0, WORDS, (rows, 7)),
        "source_mask": (np.arange(7) < lengths).astype(np.uint8),
        "target": rng.integers(0, 47, (rows, length)),
    }
