"""Encoder-decoder and decoder-only Transformers, in two variants, in plain PyTorch.

``softmax`` is the Transformer of Vaswani et al. 2017 (arXiv 1706.03762): softmax attention,
LayerNorm, ReLU. ``integer-transformer`` is the one of Lin et al. 2020 (arXiv 2009.08034), whose
every operator is cheap in integers: polynomial attention and L1 LayerNorm. Both tie the embeddings
of source, target and output.

No forward has data-dependent control flow, so ``torch.export`` captures all of them with symbolic
batch and lengths.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

VARIANTS = ("softmax", "integer-transformer")


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of a Transformer.

    ``encoder_layers`` 0 makes it a decoder-only language model. ``norm_first`` normalises the input
    of each sublayer (pre-LN) instead of the sum after it (post-LN). ``power`` is the exponent n of
    polynomial attention. Sequences have at most ``max_length`` positions.
    """

    variant: str = "softmax"
    vocab_size: int = 6000
    dim: int = 128
    heads: int = 4
    ffn: int = 256
    encoder_layers: int = 3
    decoder_layers: int = 3
    max_length: int = 256
    norm_first: bool = True
    norm_eps: float = 1e-5
    power: int = 2
    dropout: float = 0.3
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        """Reject shapes that no model can have.

        Raises:
            ValueError: an unknown variant, a width that the heads or the position signal do not
                divide, or a power below 1.
        """
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is none of {', '.join(VARIANTS)}")
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim {self.dim} must be even and divisible by heads {self.heads}")
        if self.power < 1:
            raise ValueError(f"power {self.power} of the attention polynomial is below 1")

    @property
    def max_position_embeddings(self) -> int:
        """``max_length`` under the name that Hugging Face's configurations have for it."""
        return self.max_length

    def save(self, path: str | Path) -> None:
        """Write the configuration to ``path`` as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TransformerConfig:
        """Read a configuration that :meth:`save` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not JSON, or describes no valid model.
            TypeError: it has a field that this class lacks.
        """
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


def preset(size: str, **changes: object) -> TransformerConfig:
    """The configuration ``tiny``, ``base`` or ``big``, with ``changes`` to its fields.

    ``base`` and ``big`` have the widths and depths of Vaswani et al., table 3; ``tiny`` suits a few
    ten thousand sentences.

    Raises:
        KeyError: there is no such size.
    """
    sizes = {
        "tiny": TransformerConfig(),
        "base": TransformerConfig(
            vocab_size=32000,
            dim=512,
            heads=8,
            ffn=2048,
            encoder_layers=6,
            decoder_layers=6,
            dropout=0.1,
        ),
        "big": TransformerConfig(
            vocab_size=32000,
            dim=1024,
            heads=16,
            ffn=4096,
            encoder_layers=6,
            decoder_layers=6,
        ),
    }
    return replace(sizes[size], **changes)  # type: ignore[arg-type]


class L1Norm(nn.Module):
    """``w * (x - mean) / mean|x - mean| + b`` over the last axis (arXiv 2009.08034, section 3)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each row of ``x`` (..., dim); shape stays, at least float32 inside."""
        centred = x - x.mean(-1, keepdim=True)
        deviation = centred.abs().mean(-1, keepdim=True)
        return self.weight * (centred / (deviation + self.eps)) + self.bias


class Attention(nn.Module):
    """Multi-head attention of ``x`` over a memory: softmax, or polynomial weights.

    Polynomial weights (arXiv 2009.08034, section 3) of scores s are ``relu(s + b)^n + |delta|``,
    divided by their sum, with b and delta learned for each head; hidden keys weigh exactly 0.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.power = config.power
        self.polynomial = config.variant == "integer-transformer"
        self.q = nn.Linear(config.dim, config.dim)
        self.k = nn.Linear(config.dim, config.dim)
        self.v = nn.Linear(config.dim, config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        if self.polynomial:
            self.b = nn.Parameter(torch.ones(config.heads, 1, 1))
            self.delta = nn.Parameter(torch.full((config.heads, 1, 1), 0.1))

    def _split(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        return x.view(batch, length, self.heads, dim // self.heads).transpose(1, 2)

    def weights(self, scores: Tensor, visible: Tensor) -> Tensor:
        """Attention weights (B, H, T, S) of polynomial attention from ``scores`` (B, H, T, S)."""
        raised = F.relu(scores + self.b).pow(self.power) + self.delta.abs()
        raised = raised.masked_fill(~visible, 0.0)
        return raised / raised.sum(-1, keepdim=True)

    def forward(self, x: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """Attend from ``x`` (B, T, dim) to ``memory`` (B, S, dim).

        ``visible`` (broadcastable to (B, 1, T, S), bool) says which keys a query sees; every query
        must see one. The result is (B, T, dim).
        """
        q, k, v = self._split(self.q(x)), self._split(self.k(memory)), self._split(self.v(memory))
        if self.polynomial:
            scores = (q @ k.transpose(-2, -1)) * (q.shape[-1] ** -0.5)
            mixed = self.weights(scores.float(), visible).to(v.dtype) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.dim, config.ffn)
        self.fc2 = nn.Linear(config.ffn, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each position of ``x`` (B, T, dim) by itself."""
        out: Tensor = self.fc2(self.dropout(F.relu(self.fc1(x))))
        return out


def make_norm(config: TransformerConfig) -> nn.Module:
    """The normalisation of the configuration's variant."""
    if config.variant == "integer-transformer":
        return L1Norm(config.dim, config.norm_eps)
    return nn.LayerNorm(config.dim, eps=config.norm_eps)


class Layer(nn.Module):
    """Self-attention, attention to an encoder's memory where there is one, and feed-forward."""

    def __init__(self, config: TransformerConfig, *, cross: bool) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.self_attn = Attention(config)
        self.self_norm = make_norm(config)
        if cross:
            self.cross_attn = Attention(config)
            self.cross_norm = make_norm(config)
        self.ffn = FeedForward(config)
        self.ffn_norm = make_norm(config)
        self.dropout = nn.Dropout(config.dropout)

    def _join(self, x: Tensor, new: Tensor, norm: nn.Module) -> Tensor:
        """Residual sum, normalised afterwards where the model is post-LN."""
        total: Tensor = x + self.dropout(new)
        return total if self.norm_first else norm(total)

    def _enter(self, x: Tensor, norm: nn.Module) -> Tensor:
        """Input of a sublayer: normalised where the model is pre-LN."""
        return norm(x) if self.norm_first else x

    def forward(
        self,
        x: Tensor,
        visible: Tensor,
        memory: Tensor | None = None,
        memory_visible: Tensor | None = None,
    ) -> Tensor:
        """Apply the layer to ``x`` (B, T, dim); shape stays."""
        inner = self._enter(x, self.self_norm)
        x = self._join(x, self.self_attn(inner, inner, visible), self.self_norm)
        if memory is not None:
            inner = self._enter(x, self.cross_norm)
            x = self._join(x, self.cross_attn(inner, memory, memory_visible), self.cross_norm)
        inner = self._enter(x, self.ffn_norm)
        return self._join(x, self.ffn(inner), self.ffn_norm)


class Stack(nn.Module):
    """Layers, with the final normalisation that pre-LN models need."""

    def __init__(self, config: TransformerConfig, depth: int, *, cross: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, cross=cross) for _ in range(depth))
        self.norm = make_norm(config) if config.norm_first else nn.Identity()

    def forward(
        self,
        x: Tensor,
        visible: Tensor,
        memory: Tensor | None = None,
        memory_visible: Tensor | None = None,
    ) -> Tensor:
        """Apply all layers to ``x`` (B, T, dim); shape stays."""
        for layer in self.layers:
            x = layer(x, visible, memory, memory_visible)
        out: Tensor = self.norm(x)
        return out


def sinusoids(length: int, dim: int) -> Tensor:
    """The position signal (length, dim) of Vaswani et al., section 3.5, values in -1..1."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    return torch.cat((torch.sin(position * rate), torch.cos(position * rate)), dim=1)


def causal(length: int, device: torch.device) -> Tensor:
    """Which keys each position sees, (1, 1, T, T) bool: itself and all before it."""
    index = torch.arange(length, device=device)
    return (index[None, :] <= index[:, None])[None, None]


class _Embedding(nn.Module):
    """Tied token embeddings with positions, and the vocabulary projection."""

    positions: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.dim, padding_idx=config.pad_id)
        self.register_buffer(
            "positions", sinusoids(config.max_length, config.dim), persistent=False
        )
        self.scale = math.sqrt(config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids (B, T) to vectors (B, T, dim)."""
        positions = self.positions[None, : ids.shape[1]]
        x: Tensor = self.dropout(self.tokens(ids) * self.scale + positions)
        return x

    def project(self, x: Tensor) -> Tensor:
        """Map vectors (..., dim) to logits (..., vocab)."""
        return F.linear(x, self.tokens.weight)


def init_weights(model: nn.Module, config: TransformerConfig) -> None:
    """Xavier for linear layers, normal of deviation ``dim^-0.5`` for embeddings."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=config.dim**-0.5)
            with torch.no_grad():
                module.weight[config.pad_id].zero_()


class TranslationTransformer(nn.Module):
    """Encoder-decoder Transformer with one joint vocabulary."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = _Embedding(config)
        self.encoder = Stack(config, config.encoder_layers, cross=False)
        self.decoder = Stack(config, config.decoder_layers, cross=True)
        init_weights(self, config)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode source ids (B, S); ``mask`` (B, S) is 0 at padding. The result is (B, S, dim)."""
        out: Tensor = self.encoder(self.embed(ids), mask[:, None, None, :] != 0)
        return out

    def decode(self, memory: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """Hidden states (B, T, dim) of target prefixes ``ids`` (B, T), which pad on the right."""
        visible = causal(ids.shape[1], ids.device)
        out: Tensor = self.decoder(self.embed(ids), visible, memory, mask[:, None, None, :] != 0)
        return out

    @property
    def longest(self) -> int:
        """Tokens of a source and of a target at most."""
        return self.config.max_length

    def next_logits(self, memory: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """Logits (B, vocab) of the token after target prefixes ``ids`` (B, T) of one length."""
        return self.embed.project(self.decode(memory, mask, ids)[:, -1])

    def forward(self, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
        """Logits (B, T, vocab) of the token after each prefix of ``target``.

        Args:
            source: int64 (B, S), right-padded.
            source_mask: int64 or bool (B, S), 0 at padding.
            target: int64 (B, T), begins with ``bos_id``; right-padded.
        """
        memory = self.encode(source, source_mask)
        return self.embed.project(self.decode(memory, source_mask, target))


class LanguageModel(nn.Module):
    """Decoder-only Transformer."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = _Embedding(config)
        self.decoder = Stack(config, config.decoder_layers, cross=False)
        init_weights(self, config)

    def hidden(self, ids: Tensor) -> Tensor:
        """Hidden states (B, T, dim) of ids (B, T)."""
        out: Tensor = self.decoder(self.embed(ids), causal(ids.shape[1], ids.device))
        return out

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, vocab) of the token after each prefix of ``ids`` (B, T, int64)."""
        return self.embed.project(self.hidden(ids))


def build_transformer(config: TransformerConfig) -> TranslationTransformer | LanguageModel:
    """A model with fresh weights: encoder-decoder, or decoder-only without encoder layers."""
    return TranslationTransformer(config) if config.encoder_layers else LanguageModel(config)


def load_transformer(folder: str | Path) -> TranslationTransformer | LanguageModel:
    """Load ``config.json`` and ``model.safetensors`` from ``folder``, in eval mode, float32.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: the configuration is not valid.
        RuntimeError: the weights do not fit the configuration.
    """
    folder = Path(folder)
    model = build_transformer(TransformerConfig.load(folder / "config.json"))
    state = load_file(folder / "model.safetensors")
    model.load_state_dict({k: v.float() for k, v in state.items()})
    return model.eval()
