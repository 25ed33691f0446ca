"""The operator study: its tables are in the docs, and every operator is as close as it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "operators.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("operator_study", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_docs_have_the_tables_that_the_script_writes(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "operators.md"
    page.write_text(study.PAGE.read_text())
    wanted = page.read_text()
    monkeypatch.setattr(study, "PAGE", page)
    monkeypatch.setattr(study, "IMAGES", tmp_path / "images")
    monkeypatch.setattr(sys, "argv", ["operators.py"])
    study.main()
    assert page.read_text() == wanted
    drawn = {path.name for path in (tmp_path / "images").iterdir()}
    assert drawn == {f"operators_{name}.svg" for name in ("softmax", "gelu", "norm")}


@pytest.mark.parametrize(
    ("operator", "bounds"),
    [
        ("exact", (0.015, 0.0005, 0.0002)),
        ("newton", (1.0, 0.01, 0.0006)),
        ("power-of-two", (0.06, 0.04, 0.04)),
    ],
)
def test_normalised_values_are_close(
    study: ModuleType, operator: str, bounds: tuple[float, ...]
) -> None:
    """Rows of deviation 1, 100 and 3000: one step of the mean, of 8-bit inputs, of the result."""
    for deviation, bound in zip((1, 100, 3000), bounds, strict=True):
        assert study.norm_error(operator, deviation, 100) < bound


@pytest.mark.parametrize(
    ("operator", "bound"), [("exact", 4e-4), ("shiftgelu", 0.03), ("i-gelu", 0.02)]
)
def test_gelu_is_close_at_any_range(study: ModuleType, operator: str, bound: float) -> None:
    assert max(study.gelu_error(operator, reach) for reach in study.RANGES) < bound


@pytest.mark.parametrize(
    ("operator", "bound"), [("exp2", 0.03), ("shiftmax", 0.025), ("i-exp", 0.015), ("log2", 0.1)]
)
def test_softmax_is_close_at_any_spread_and_length(
    study: ModuleType, operator: str, bound: float
) -> None:
    spreads = [study.softmax_error(operator, spread, 197, 40) for spread in study.SPREADS]
    lengths = [study.softmax_error(operator, 1.0, length, 40) for length in study.LENGTHS]
    assert max(*spreads, *lengths) < bound


@pytest.mark.parametrize(
    ("kind", "setting", "published", "ours"),
    [
        ("gelu", 16.0, "shiftgelu-published", "shiftgelu"),
        ("norm", 1, "newton-published", "newton"),
        ("softmax", 6.0, "shiftmax-published", "shiftmax"),
        ("softmax", 1.0, "i-exp-published", "i-exp"),
    ],
)
def test_published_operators_fail_where_the_docs_say(
    study: ModuleType, kind: str, setting: float, published: str, ours: str
) -> None:
    rest = {"gelu": (), "norm": (100,), "softmax": (197, 40)}[kind]
    error = getattr(study, f"{kind}_error")
    assert error(published, setting, *rest) > 3 * error(ours, setting, *rest)
