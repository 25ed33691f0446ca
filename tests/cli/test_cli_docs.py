"""The pages about the command line say what is true: their snippets run, their help is current."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from cli_runner import intformer

from tiny_models import picture

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_commands_page_is_what_help_prints():
    written = (DOCS / "commands.md").read_text()
    layout = ".".join(version("typer").split(".")[:2])
    if f"typer {layout} -->" not in written:
        pytest.skip("another version of Typer breaks lines elsewhere")
    printed = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--print"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == written, "run 'make docs'"


def test_quickstart_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(9, (300, 200)).save("cat.png")
    space = {}
    snippets = re.findall(r"```(bash|python)\n(.*?)```", (DOCS / "quickstart.md").read_text(), re.S)
    assert len(snippets) >= 8
    for language, text in snippets:
        if language == "python":
            exec(compile(text, "quickstart.md", "exec"), space)
            continue
        for line in text.strip().splitlines():
            command, *arguments = shlex.split(line)
            assert command == "intformer"
            done = intformer(*arguments)
            assert done.status == 0, (line, done.stderr)
    assert {"vit.onnx", "vit_flat.onnx", "mine.onnx"} <= {p.name for p in tmp_path.iterdir()}
    assert intformer("verify", "mine.onnx").status == 0


def test_every_command_of_the_quickstart_is_real():
    text = (DOCS / "quickstart.md").read_text()
    for verb in set(re.findall(r"^intformer (\w+) ", text, re.M)):
        assert intformer(verb, "--help").status == 0
