"""Writes the conformance cases: ``python conformance/generate.py``.

Operands come from fixed seeds, results from the NumPy reference, and every case is verified first:
an implementation need not care for programs that the verifier refuses.
"""

from __future__ import annotations

from pathlib import Path

from families import FAMILIES, IMAGE_FAMILIES, STORED, Maker
from published import PUBLISHED, PUBLISHED_CHANNELS, PUBLISHED_WINDOWS
from sequences import SEQUENCES
from wide import WIDE

from intformer.ir.operators import evaluate
from intformer.ir.verify import verify
from intformer.reference.conformance import SUFFIX, Case, write_case
from intformer.reference.primitives import NumpyPrimitives

FOLDER = Path(__file__).parent


def complete(case: Case) -> Case:
    """The case with its result, proved to be a sound program."""
    node = case.graph().nodes[0]
    case.expected = evaluate(NumpyPrimitives(), node, list(case.operands.values()))
    verify(case.graph())
    return case


def main() -> None:
    for old in FOLDER.rglob(f"*{SUFFIX}"):
        old.unlink()
    count = size = 0
    later = (*PUBLISHED_WINDOWS, *STORED, *PUBLISHED_CHANNELS)
    families = (*FAMILIES, *SEQUENCES, *PUBLISHED, *IMAGE_FAMILIES, *WIDE, *later)
    for seed, family in enumerate(families):
        for name, case in family(Maker(seed)):
            path = FOLDER / case.op / (name.rpartition(":")[2] + SUFFIX)
            assert not path.exists(), path
            write_case(path, complete(case))
            count, size = count + 1, size + path.stat().st_size
    print(f"{count} cases, {size} bytes")


if __name__ == "__main__":
    main()
