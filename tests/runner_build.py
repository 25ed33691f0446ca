"""Builds native/runner, and runs Python programs whose native part is that process."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNEL_TESTS = (
    "kernel_conformance",
    "session",
    "linear_kernels",
    "attention_kernels",
    "window_kernels",
    "sequence_kernels",
    "norm_kernels",
    "low_bits",
    "packed_kernels",
    "published_kernels",
)
"""What every level is held to; the names of tests/runtime/test_*.py."""


def build_runner(tree: Path, *options: str) -> Path:
    """The runner, built with further CMake options in ``tree`` or brought up to date there.

    Raises:
        RuntimeError: the build fails; the message ends with the compiler's.
    """
    tree.mkdir(parents=True, exist_ok=True)
    with (tree / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (tree / "CMakeCache.txt").exists():
            generator = ["-G", "Ninja"] if shutil.which("ninja") else []
            fixed = ["cmake", "-S", str(ROOT), "-B", str(tree), "-DINTFORMER_RUNNER=ON"]
            _succeed([*fixed, *generator, *options])
        _succeed(["cmake", "--build", str(tree), "--parallel", "2"])
    return tree / "intformer_runner"


def _succeed(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-3000:])


def kernel_tests(names: tuple[str, ...] = KERNEL_TESTS) -> list[str]:
    """Arguments of Python that run tests of the kernels in the other process."""
    files = [str(ROOT / "tests" / "runtime" / f"test_{name}.py") for name in names]
    return ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "other_process", *files]


def run_python(
    runner: str, level: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python; after ``import other_process`` its native part is the command ``runner``.

    ``level`` is the instruction-set level, the best one if empty.
    """
    paths = os.pathsep.join([str(ROOT / "tests"), *filter(None, sys.path)])
    own = {"PYTHONPATH": paths, "INTFORMER_RUNNER": runner, "INTFORMER_ISA": level}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
