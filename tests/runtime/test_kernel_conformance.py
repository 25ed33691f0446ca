"""The native runtime passes the conformance pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intformer.reference.conformance import Case, load_cases
from intformer.runtime import Session

CASES = list(load_cases(Path(__file__).parents[2] / "conformance"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    graph = case.graph()
    (actual,) = Session(graph, threads=2).run(case.inputs).values()
    assert actual.dtype == case.expected.dtype
    np.testing.assert_array_equal(actual, case.expected)
