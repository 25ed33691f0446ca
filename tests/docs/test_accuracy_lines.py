"""The accuracy that the project promises is in its measurements, and the page shows these."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from statistics import mean
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = json.loads((ROOT / "benchmarks" / "accuracy.json").read_text())
MODELS = ("vit_cifar10", "deit_cifar10", "swin_cifar10")
WIDTHS = ("W8A8", "W6A6", "W4A8", "W4A4")
RECIPES = ("intformer", "i-vit", "i-bert", "fq-vit", "auto", "i-vit-published", "i-bert-published")


def score(model: str, recipe: str, bits: str, kind: str) -> float:
    """Top-1 in percent, the mean over seeds."""
    name = f"{model} {recipe} {bits} {kind}"
    found = [v["top1"] for k, v in RESULTS.items() if k == name or k.startswith(f"{name} seed")]
    return mean(found)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("recipe", "bits", "kind", "loss"),
    [
        ("intformer", "W8A8", "PTQ", 0.2),
        ("intformer", "W6A6", "PTQ", 1.0),
        ("intformer", "W4A8", "PTQ", 1.0),
        ("intformer", "W8A8", "QAT", 0.0),
        ("i-vit", "W8A8", "QAT", 0.1),
        ("intformer", "W4A8", "QAT", 0.3),
    ],
)
def test_no_more_is_lost_than_promised(
    model: str, recipe: str, bits: str, kind: str, loss: float
) -> None:
    exact = RESULTS[f"{model} float"]["top1"]
    assert score(model, recipe, bits, kind) >= exact - loss - 1e-9  # decimals in binary


def test_every_recipe_is_measured_at_every_width_with_and_without_training() -> None:
    for model in MODELS:
        for recipe in RECIPES:
            for bits in WIDTHS:
                assert f"{model} {recipe} {bits} PTQ" in RESULTS
                assert f"{model} {recipe} {bits} QAT seed0" in RESULTS
        for bits in WIDTHS:
            assert f"{model} naive {bits} PTQ" in RESULTS


def test_the_main_model_has_three_seeds() -> None:
    for recipe in RECIPES:
        for bits in WIDTHS:
            for seed in range(3):
                assert f"vit_cifar10 {recipe} {bits} QAT seed{seed}" in RESULTS


def test_twin_and_program_were_compared_on_all_images() -> None:
    trained = [cell for name, cell in RESULTS.items() if " QAT " in name]
    assert all(cell["compared"] == 5000 for cell in trained)


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", ROOT / "benchmarks" / "accuracy.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["accuracy"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_measurements(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = (ROOT / "docs" / "accuracy.md").read_text()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "accuracy.md").write_text(wanted)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    script.write_page(RESULTS)
    assert (tmp_path / "docs" / "accuracy.md").read_text() == wanted
