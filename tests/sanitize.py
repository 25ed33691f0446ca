"""Runs the tests of the kernels and the executor under sanitizers, at every level of this CPU.

    python tests/sanitize.py [address,undefined] [thread]

Needs GCC or Clang with the sanitizers' libraries. The first finding ends the run with its report.
"""

from __future__ import annotations

import argparse
import sys

from intformer.runtime import describe
from runner_build import ROOT, build_runner, kernel_tests, run_python

SANITIZERS = ("address,undefined", "thread")
OPTIONS = {"ASAN_OPTIONS": "detect_stack_use_after_return=1", "TSAN_OPTIONS": "halt_on_error=1"}


def main(sanitizers: list[str]) -> int:
    levels = describe().get("levels", [])
    assert isinstance(levels, list)
    for sanitizer in sanitizers:
        tree = ROOT / "build" / f"sanitize-{sanitizer.replace(',', '-')}"
        runner = build_runner(tree, f"-DINTFORMER_SANITIZE={sanitizer}")
        for level in levels:
            done = run_python(str(runner), level, *kernel_tests(), **OPTIONS)
            print(f"{sanitizer} at {level}: {'passed' if done.returncode == 0 else 'FAILED'}")
            if done.returncode:
                print((done.stdout + done.stderr)[-12000:])
                return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sanitizers", nargs="*", default=SANITIZERS, metavar="SANITIZERS")
    sys.exit(main(parser.parse_args().sanitizers))
