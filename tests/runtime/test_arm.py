"""The kernels of Arm compute the bytes of the reference, emulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulated import run_on_arm

HERE = Path(__file__).parent
ALL = ("kernel_conformance", "session", "linear_kernels", "attention_kernels", "norm_kernels")
TESTS = {
    "portable": ALL[:2],
    "dotprod": (*ALL, "low_bits"),
    "i8mm": ALL[:3],  # has products of its own and shares the rest
}
DESCRIBE = "import other_process, intformer.runtime as r; d = r.describe(); print(*d['levels'])"


@pytest.mark.parametrize("level", TESTS)
def test_level_equals_reference(level: str) -> None:
    files = [str(HERE / f"test_{name}.py") for name in TESTS[level]]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "other_process"]
    done = run_on_arm(level, "-m", "pytest", *options, *files)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


@pytest.mark.parametrize(
    ("cpu", "levels"),
    [
        ("cortex-a53", "portable"),
        ("cortex-a76", "portable dotprod"),
        ("max", "portable dotprod i8mm"),
    ],
)
def test_levels_follow_from_the_processor(cpu: str, levels: str) -> None:
    assert run_on_arm("", "-c", DESCRIBE, cpu=cpu).stdout.strip() == levels


def test_environment_cannot_choose_a_level_that_the_processor_lacks() -> None:
    done = run_on_arm("i8mm", "-c", DESCRIBE, cpu="cortex-a76")
    assert done.returncode != 0
    assert "INTFORMER_ISA=i8mm is not available on this CPU; choose one of portable" in done.stderr
