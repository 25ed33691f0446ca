"""The kernels of Arm on other machines: cross-compiled, and run by an emulator of user programs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "aarch64"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"


def arm_build() -> Path:
    """The build tree of native/runner for Arm, up to date; skips where a tool is missing."""
    missing = [tool for tool in (COMPILER, EMULATOR, "cmake") if not shutil.which(tool)]
    if missing:
        pytest.skip(
            f"needs {', '.join(missing)} (apt install g++-aarch64-linux-gnu qemu-user-static cmake)"
        )
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-DINTFORMER_RUNNER=ON"]
        configure += ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
        if not (BUILD / "CMakeCache.txt").exists():
            _succeed([*configure, f"-DCMAKE_CXX_COMPILER={COMPILER}"])
        _succeed(["cmake", "--build", str(BUILD), "--parallel", "2"])
    return BUILD


def _succeed(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def run_on_arm(level: str, *command: str, cpu: str = "max") -> subprocess.CompletedProcess[str]:
    """Run Python with ``command``; what it runs natively goes to an emulated ``cpu``.

    The command must load ``other_process``: ``-p other_process`` does, with pytest.
    """
    runner = f"{EMULATOR} -cpu {cpu} {arm_build() / 'intformer_runner'}"
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "INTFORMER_RUNNER": runner,
        "INTFORMER_ISA": level,
    }
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
