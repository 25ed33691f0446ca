"""Every instruction-set level of this CPU computes the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from intformer.runtime import describe
from runner_build import KERNEL_TESTS

HERE = Path(__file__).parent
LEVELS = describe().get("levels", [])
assert isinstance(LEVELS, list)


def run_at(level: str, *command: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(p for p in sys.path if p)
    environment = {**os.environ, "INTFORMER_ISA": level, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("level", LEVELS)
def test_level_equals_reference(level: str) -> None:
    files = [str(HERE / f"test_{name}.py") for name in KERNEL_TESTS]
    done = run_at(level, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.mark.parametrize("level", LEVELS)
def test_environment_chooses_the_level(level: str) -> None:
    done = run_at(level, "-c", "import intformer.runtime as r; print(r.describe()['level'])")
    assert done.stdout.strip() == level


@pytest.mark.skipif(not LEVELS, reason="no native extension")
def test_unknown_level_is_refused() -> None:
    done = run_at("avx1024", "-c", "import intformer.runtime as r; r.describe()")
    assert done.returncode != 0
    assert "InputError: INTFORMER_ISA=avx1024 is not available on this CPU" in done.stderr
