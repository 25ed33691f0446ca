"""The examples of docs/artifact.md run, and its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from intformer import artifact
from intformer.artifact import schema
from programs import bert_like, single_operator_cases, vit_like

DOCS = Path(__file__).parents[2] / "docs" / "artifact.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact.save(vit_like(), tmp_path / "vit.onnx")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        exec(snippet, {})
    assert (tmp_path / "copy.onnx").read_bytes() == (tmp_path / "vit.onnx").read_bytes()


def test_every_operator_in_a_file_is_documented() -> None:
    text = DOCS.read_text()
    for build in (vit_like, bert_like, *single_operator_cases().values()):
        for node in artifact.to_onnx(build(), flat=True).graph.node:
            named = f"`{node.op_type}`" in text
            assert named or node.op_type in ("Div", "GreaterOrEqual", "LessOrEqual"), node.op_type


def test_every_metadata_key_is_documented() -> None:
    text = DOCS.read_text()
    for key in (*schema.RESERVED, schema.KEY_GOLDEN):
        assert f"`{key}`" in text
