"""The kernels of Arm compute the bytes of the reference, emulated."""

from __future__ import annotations

import pytest

from emulated import run_on_arm
from runner_build import KERNEL_TESTS, kernel_tests

TESTS = {
    "portable": KERNEL_TESTS[:2],
    "dotprod": KERNEL_TESTS,
    "i8mm": KERNEL_TESTS[:3],  # has products of its own and shares the rest
}
DESCRIBE = "import other_process, intformer.runtime as r; d = r.describe(); print(*d['levels'])"


@pytest.mark.parametrize("level", TESTS)
def test_level_equals_reference(level: str) -> None:
    done = run_on_arm(level, *kernel_tests(TESTS[level]))
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
