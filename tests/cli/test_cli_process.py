"""The command as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from cli_runner import intformer
from typer.main import get_command

from intformer.cli.main import app
from intformer.program import Program
from tiny_models import integer_classifier, write_parquet

COMMAND = [sys.executable, "-m", "intformer.cli.main"]


def process(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("process") / "tiny.onnx"
    Program(integer_classifier()).save(path)
    return path


def test_importing_the_command_line_is_light():
    code = (
        "import sys, intformer.cli.main; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'timm', 'transformers', 'scipy', "
        "'pyarrow', 'PIL', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_verify_needs_no_torch(program):
    code = (
        "import sys; from intformer.cli.main import app; "
        f"sys.argv = ['intformer', 'verify', {str(program)!r}]\n"
        "try: app()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


def test_json_alone_on_standard_output(program, tmp_path):
    data = write_parquet(tmp_path / "x.parquet", labels=[0] * 12)
    done = process("eval", program, "--data", data, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["images"] == 12
    assert "evaluating" in done.stderr


def test_error_without_traceback(tmp_path):
    done = process("verify", tmp_path / "nowhere.onnx")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert process("nonsense").returncode == 2


def test_closed_pipe_is_no_error(program):
    command = " ".join([*COMMAND, "inspect", str(program), "--nodes"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1"], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


def test_interrupt_ends_with_130_and_no_file(tmp_path):
    arguments = ["quantize", "zoo:vit_cifar10", "--data", "photographs", "-o", "x.onnx"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A test run in the background of a shell ignores Ctrl-C, and its children would too.
    running = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **streams,
    )
    wait_for_file(tmp_path)
    interrupt(running)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def interrupt(running):
    """Ctrl-C until it is heard: Python drops one that comes in a callback of its import system."""
    for _ in range(6):
        running.send_signal(signal.SIGINT)
        try:
            running.wait(timeout=10)
            return
        except subprocess.TimeoutExpired:
            continue


def wait_for_file(folder):
    """Until the temporary file shows that the work has begun."""
    for _ in range(600):
        if any(folder.iterdir()):
            return
        time.sleep(0.1)
    raise AssertionError("quantize did not start within a minute")


def test_help_teaches_with_examples():
    for verb in get_command(app).commands:
        shown = intformer(verb, "--help").stdout
        assert "Examples:" in shown
        assert f"intformer {verb}" in shown
