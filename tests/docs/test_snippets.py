"""Runs the Python blocks of the documentation: what a reader copies works.

The blocks of one file share a namespace and a temporary folder, in which ``vit.onnx`` is a small
program. A block that starts with ```` ```python no-run ```` is skipped. The quick start is not
here: its Python continues from its commands, and ``tests/cli`` runs both.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import programs
from intformer import artifact

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python(?P<words>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]


def blocks(page: Path) -> list[tuple[int, str]]:
    """(line, code) of every block to run."""
    text = page.read_text(encoding="utf-8")
    found = [m for m in BLOCK.finditer(text) if "no-run" not in m["words"]]
    return [(text[: m.start()].count("\n") + 1, m["code"]) for m in found]


RUNNABLE = {
    page.relative_to(ROOT).as_posix(): page
    for page in PAGES
    if blocks(page) and page.name != "quickstart.md"
}


@pytest.mark.parametrize("name", RUNNABLE)
def test_snippets(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artifact.save(programs.vit_like(), "vit.onnx")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(RUNNABLE[name]):
        source = "\n" * line + code  # tracebacks then show the line of the page
        exec(compile(source, str(RUNNABLE[name]), "exec"), namespace)


def test_the_arithmetic_is_documented_with_code() -> None:
    assert len(blocks(ROOT / "docs" / "arithmetic.md")) >= 10
