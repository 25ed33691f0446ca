"""The kernels of Arm on other machines: cross-compiled, and run by an emulator of user programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runner_build import ROOT, build_runner, run_python

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"


def arm_runner() -> Path:
    """The runner for Arm, up to date; skips the test where a tool is missing."""
    missing = [tool for tool in (COMPILER, EMULATOR, "cmake") if not shutil.which(tool)]
    if missing:
        pytest.skip(
            f"needs {', '.join(missing)} (apt install g++-aarch64-linux-gnu qemu-user-static cmake)"
        )
    target = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    return build_runner(ROOT / "build" / "aarch64", *target, f"-DCMAKE_CXX_COMPILER={COMPILER}")


def run_on_arm(level: str, *arguments: str, cpu: str = "max") -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments``; its native part runs on an emulated ``cpu``."""
    return run_python(f"{EMULATOR} -cpu {cpu} {arm_runner()}", level, *arguments)
