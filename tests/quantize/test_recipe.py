"""Recipes: what is accepted, and one clear line for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from intformer.errors import RecipeError
from intformer.quantize.recipe import RECIPES, Recipe, load_recipe


def test_names_dictionaries_and_recipes_themselves() -> None:
    assert load_recipe("intformer") == Recipe()
    naive = load_recipe("naive")
    assert (naive.residual_bits, naive.observer, naive.equalize) == (8, "minmax", False)
    assert load_recipe(naive) is naive
    assert load_recipe({"weight_bits": 4}) == Recipe(weight_bits=4)


def test_a_base_is_changed_only_where_said() -> None:
    recipe = load_recipe({"base": "naive", "residual_bits": 16})
    assert recipe.residual_bits == 16
    assert recipe.rounding == "nearest" and recipe.observer == "minmax"


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    toml = 'base = "naive"\nname = "mine"\n[overrides."fc1$"]\nweight_bits = 4\n'
    data = {"base": "naive", "name": "mine", "overrides": {"fc1$": {"weight_bits": 4}}}
    path.write_text(toml if suffix == ".toml" else json.dumps(data))
    for source in (path, str(path)):
        recipe = load_recipe(source)
        assert recipe.name == "mine" and recipe.rounding == "nearest"
        assert recipe.for_layer("blocks.3.mlp.fc1", "weight_bits") == 4
        assert recipe.for_layer("blocks.3.mlp.fc2", "weight_bits") == 8


def test_the_last_matching_override_wins_and_others_stay() -> None:
    recipe = load_recipe(
        {
            "observer": "percentile",
            "overrides": {
                "attn": {"activation_bits": 6, "weight_bits": 6},
                r"\.proj$": {"activation_bits": 16},
            },
        }
    )
    assert recipe.for_layer("b.attn.qkv", "activation_bits") == 6
    assert recipe.for_layer("b.attn.proj", "activation_bits") == 16
    assert recipe.for_layer("b.attn.proj", "weight_bits") == 6
    assert recipe.for_layer("b.attn.proj", "observer") == "percentile"
    assert recipe.for_layer("b.mlp.fc1", "activation_bits") == 8


@pytest.mark.parametrize("name", list(RECIPES))
def test_what_an_artifact_stores_is_the_recipe(name: str) -> None:
    assert load_recipe(json.loads(RECIPES[name].to_json())) == RECIPES[name]


def test_overrides_survive_the_artifact() -> None:
    recipe = load_recipe({"overrides": {"head": {"activation_bits": 16}}})
    assert load_recipe(json.loads(recipe.to_json())) == recipe


BAD: dict[str, tuple[Any, str]] = {
    "unknown key": ({"weight_bit": 8}, "unknown key 'weight_bit'.*weight_bits"),
    "value not offered": ({"weight_bits": 5}, r"weight_bits = 5 .*\[4, 6, 8\]"),
    "bits as text": ({"activation_bits": "8"}, "activation_bits = '8'"),
    "a truth for a number": ({"smoothing": True}, "smoothing = True"),
    "bits as a truth": ({"residual_bits": True}, "residual_bits = True"),
    "text for a truth": ({"equalize": "yes"}, "equalize = 'yes'"),
    "unknown observer": ({"observer": "max"}, "observer = 'max'.*minmax"),
    "smoothing above 1": ({"smoothing": 1.5}, "smoothing = 1.5"),
    "percentile of 0": ({"percentile": 0}, "percentile = 0"),
    "percentile above 100": ({"percentile": 101.0}, "percentile = 101"),
    "no head room": ({"residual_margin": 0.0}, "residual_margin = 0"),
    "margin that is no number": ({"residual_margin": float("nan")}, "residual_margin = nan"),
    "unknown base": ({"base": "best"}, "unknown base 'best'.*intformer"),
    "base of another type": ({"base": ["naive"]}, "base"),
    "overrides as a list": ({"overrides": ["head"]}, "overrides must map"),
    "override as a number": ({"overrides": {"head": 16}}, "'head' must be a table"),
    "bad expression": ({"overrides": {"blocks.(": {}}}, r"'blocks.\(' is no regular expression"),
    "unknown override": ({"overrides": {"head": {"bits": 8}}}, "'head'.*unknown key 'bits'"),
    "override value": ({"overrides": {"a": {"activation_bits": 32}}}, "activation_bits = 32"),
    "unknown name": ("fast", "unknown recipe 'fast'.*intformer, naive.*toml"),
    "missing file": ("nowhere/mine.toml", "cannot read recipe nowhere/mine.toml"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_get_one_clear_line(case: str) -> None:
    source, message = BAD[case]
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", b"weight_bits = ", "cannot read recipe"),
        ("a.json", b"{", "cannot read recipe"),
        ("a.json", b"[8]", "must be a table of settings"),
        ("a.json", b"\xff\xfe\x00", "cannot read recipe"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value) and name in str(caught.value)
