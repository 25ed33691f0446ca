"""The zoo's Transformers in floating point: what each variant promises, and what padding may do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from intformer.models.transformer import (
    VARIANTS,
    L1Norm,
    TransformerConfig,
    TranslationTransformer,
    build_transformer,
    load_transformer,
    preset,
)

SMALL = TransformerConfig(
    vocab_size=50, dim=32, heads=4, ffn=48, encoder_layers=2, decoder_layers=2, max_length=40
)


def small(variant: str, **changes: object) -> TranslationTransformer:
    torch.manual_seed(1)
    model = TranslationTransformer(replace(SMALL, variant=variant, **changes))  # type: ignore[arg-type]
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("norm_first", [True, False])
def test_padding_and_later_tokens_change_nothing(variant: str, norm_first: bool) -> None:
    model = small(variant, norm_first=norm_first)
    source, target = torch.randint(3, 50, (2, 9)), torch.randint(3, 50, (2, 7))
    alone = model(source[:, :6], torch.ones(2, 6), target[:, :5])
    mask = (torch.arange(9) < 6).expand(2, 9)
    padded = model(source, mask, target)
    torch.testing.assert_close(padded[:, :5], alone)
    assert alone.std() > 0.01


def test_polynomial_weights_follow_the_formula() -> None:
    attention = small("integer-transformer").encoder.layers[0].self_attn
    scores, visible = torch.randn(1, 4, 3, 5), torch.ones(1, 1, 1, 5, dtype=torch.bool)
    visible[..., 3] = False
    weights = attention.weights(scores, visible)
    poly = torch.clamp(scores + 1.0, min=0) ** 2 + 0.1
    poly[..., 3] = 0
    torch.testing.assert_close(weights, poly / poly.sum(-1, keepdim=True))
    assert (weights[..., 3] == 0).all()


def test_l1_norm_divides_by_the_mean_absolute_deviation() -> None:
    norm = L1Norm(64, 1e-5)
    y = norm(torch.randn(5, 64) * 7 + 3)
    assert y.mean(-1).abs().max() < 1e-5
    torch.testing.assert_close(y.abs().mean(-1), torch.ones(5), atol=1e-4, rtol=0)


def test_presets_have_the_published_shapes() -> None:
    base, big = preset("base"), preset("big", variant="integer-transformer")
    assert (base.dim, base.ffn, base.heads, base.encoder_layers) == (512, 2048, 8, 6)
    assert (big.dim, big.ffn, big.heads, big.variant) == (1024, 4096, 16, "integer-transformer")


def test_a_saved_model_loads_as_it_was(tmp_path: Path) -> None:
    config = replace(SMALL, encoder_layers=0, variant="integer-transformer")
    model = build_transformer(config).eval()
    config.save(tmp_path / "config.json")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    ids = torch.randint(3, 50, (2, 11))
    torch.testing.assert_close(load_transformer(tmp_path)(ids), model(ids))
    with pytest.raises(ValueError, match="variant 'relu'"):
        TransformerConfig(variant="relu")
