"""The demo, shortened: real zoo model, photographs that every installation has."""

import re

import pytest
from cli_runner import intformer

from intformer.cli import demo


@pytest.fixture
def short(monkeypatch):
    """Few samples, and no CIFAR-10 wherever it may lie."""
    monkeypatch.setattr(demo, "SAMPLES", 16)
    monkeypatch.setattr(demo, "COMPARED", 4)
    monkeypatch.setattr("intformer.evaluate.data_files.find_data", lambda _: None)


def test_demo_without_cifar10(short, tmp_path):
    done = intformer("demo", "--out", tmp_path / "deep" / "demo", "--limit", 24, "--json")
    assert done.status == 0, done.stderr
    found = done.json
    assert found["calibrated_on"] == "photographs"
    assert (found["top1"], found["float_top1"]) == (None, None)
    assert found["agreement"] >= 85
    assert found["images"] == 24
    assert found["bytes"] < 4_000_000
    assert set(found["seconds"]) == {"quantize", "verify", "classify", "compare"}
    page = (tmp_path / "deep" / "demo" / "report.html").read_text()
    assert page.count("<figure>") == 28
    assert len(re.findall(r"dB</span>", page)) > 20
    assert {p.name for p in (tmp_path / "deep" / "demo").iterdir()} == {
        "report.html",
        "vit_cifar10.onnx",
    }
    assert intformer("verify", found["program"]).status == 0


def test_demo_into_a_file(short, tmp_path):
    (tmp_path / "taken").write_text("a file")
    done = intformer("demo", "--out", tmp_path / "taken")
    assert done.status == 2
    assert "taken" in done.line
