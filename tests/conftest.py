"""Which tests run where: a machine that only runs programs has no torch."""

from importlib.util import find_spec
from pathlib import Path

TESTS = Path(__file__).parent
WITHOUT_TORCH = ("ir", "runtime", "artifact")
WITH_TORCH = (
    "artifact/test_artifact_docs.py",
    "artifact/test_onnx_equality.py",
    "artifact/test_operators_at_random.py",
)
"""Files of these folders that compare with torch or ONNX Runtime."""


def pytest_report_header():
    return "" if find_spec("torch") else f"torch is absent: only {', '.join(WITHOUT_TORCH)}"


def pytest_ignore_collect(collection_path):
    if find_spec("torch") or TESTS not in collection_path.parents:
        return None
    name = collection_path.relative_to(TESTS).as_posix()
    return name in WITH_TORCH or name.split("/")[0] not in (*WITHOUT_TORCH, "programs.py")
