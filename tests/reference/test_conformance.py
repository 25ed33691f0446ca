"""The stored cases: the reference and torch reproduce every one, and they cover every operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intformer.errors import InputError
from intformer.ir.graph import INTEGER_RANGES
from intformer.ir.operators import OPERATORS
from intformer.ir.verify import verify
from intformer.quantize.torch_primitives import run_torch
from intformer.reference import interpret
from intformer.reference.conformance import Case, load_cases, read_case, write_case

FOLDER = Path(__file__).parents[2] / "conformance"
CASES = {case.name: case for case in load_cases(FOLDER)}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    case = CASES[name]
    graph = case.graph()
    verify(graph)
    for run in (interpret, run_torch):
        result = run(graph, case.inputs)["y"]
        assert (result.dtype, result.shape) == (case.expected.dtype, case.expected.shape)
        assert (result == case.expected).all()


def test_every_operator_and_type_has_cases() -> None:
    assert {case.op for case in CASES.values()} == set(OPERATORS)
    for name, operator in OPERATORS.items():
        cases = [case for case in CASES.values() if case.op == name]
        for position, operand in enumerate(operator.operands):
            seen = {
                str(list(c.operands.values())[position].dtype) for c in cases if has(c, position)
            }
            assert seen == set(operand.dtypes), (name, operand.name)


def has(case: Case, position: int) -> bool:
    return position < len(case.operands)


def test_results_are_not_trivial() -> None:
    """Few results are constant, and few sit at the ends of their range."""
    rich = [case for case in CASES.values() if case.expected.size >= 16 and case.op != "argmax"]
    constant = [case.name for case in rich if case.expected.min() == case.expected.max()]
    assert len(constant) <= 2, constant
    ends = [INTEGER_RANGES[str(case.expected.dtype)] for case in rich]
    inside = [
        ((case.expected > low) & (case.expected < high)).mean()
        for case, (low, high) in zip(rich, ends, strict=True)
    ]
    assert np.median(inside) > 0.6


def test_the_pack_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.case")) < 3_000_000


def test_a_case_survives_being_written(tmp_path: Path) -> None:
    for case in CASES.values():
        path = tmp_path / f"{case.name}.case"
        write_case(path, case)
        assert path.read_bytes() == (FOLDER / f"{case.name}.case").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"intformer-case 1", b"something", "must begin with 'intformer-case 1'"),
        (b"\ndata\n", b"\n", "must begin with"),
        (b"constant bias int32 1 3", b"constant bias int32 1 999", "bytes of data, .* are left"),
        (b"constant bias int32 1 3", b"constant bias int32 1 2", "holds 4 bytes more"),
        (b"constant bias int32 1 3", b"constant bias float32 1 3", "not a tensor of rank 1"),
        (b"constant bias int32 1 3", b"constant bias int32 2 3", "not a tensor of rank 2"),
        (b"constant bias int32 1 3", b"constant bias int32 1 -3", "not a tensor"),
        (b"constant bias int32 1 3", b"variable bias int32 1 3", "unknown word 'variable'"),
        (b"constant bias int32 1 3", b"constant bias", "list index out of range"),
        (b"op linear", b"attr shift ints 2 1\nop linear", "not an attribute of 2 values"),
    ],
)
def test_damaged_cases_are_refused(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    data = (FOLDER / "linear" / "1x2x3.case").read_bytes()
    assert old in data
    path = tmp_path / "bad.case"
    path.write_bytes(data.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_case(path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no conformance cases"):
        list(load_cases(tmp_path))
