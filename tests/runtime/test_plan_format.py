"""A plan and the extension that reads it are of one version."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from intformer import extension
from intformer.errors import ExtensionError, IntformerError
from intformer.evaluate.bench.kernel_graphs import products
from intformer.extension import PLAN_FORMAT
from intformer.ir.graph import Graph
from intformer.reference.conformance import load_cases
from intformer.runtime import emit as emitters
from intformer.runtime.fuse import fuse
from intformer.runtime.packing import Constants
from intformer.runtime.plan import Machine, make_plan
from intformer.runtime.stored import with_computed_constants

MACHINES = (
    Machine("portable", 1, False, 1),
    Machine("avx2", 8, True, 1),
    Machine("avx512vnni", 16, True, 1),
    Machine("dotprod", 4, False, 1),
    Machine("i8mm", 4, False, 1),
)

FINGERPRINT = "9be2301a862d4b9b"
"""Of all plans below at PLAN_FORMAT."""


def graphs() -> list[Graph]:
    """Every operator, and products with every epilogue and kind of weights."""
    cases = load_cases(Path(__file__).parents[2] / "conformance")
    return [case.graph() for case in cases] + [
        kernel.graph for kernel in products(5, 40, 24, all_weights=True)
    ]


def fingerprint(graph: Graph, machine: Machine) -> bytes:
    """Steps, slots and constants of a plan."""
    constants, graph = Constants(), with_computed_constants(graph)
    sizes = {d: 3 for kind in graph.inputs.values() for d in kind.shape if isinstance(d, str)}
    plan = make_plan(graph, fuse(graph), sizes, constants, emitters.emit, machine)
    text = repr((plan.steps, plan.slots, plan.arena_bytes, plan.outputs))
    return text.encode() + b"".join(array.tobytes() for array in constants.arrays)


def test_plans_change_only_with_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(*sizes: int) -> int:
        return 64 * sum(sizes)

    monkeypatch.setattr(emitters, "native", SimpleNamespace(attention_packed_bytes=packed))
    digest = hashlib.sha256()
    for graph in graphs():
        for machine in MACHINES:
            digest.update(fingerprint(graph, machine))
    assert digest.hexdigest()[:16] == FINGERPRINT, (
        f"plans have changed: if older extensions would read them wrongly, raise PLAN_FORMAT "
        f"(now {PLAN_FORMAT}) in src/intformer/extension.py; then set FINGERPRINT here"
    )


def test_the_installed_extension_is_of_this_version() -> None:
    if extension.native is None:
        pytest.skip("the native extension intformer._native is not built")
    assert extension.native.plan_format() == PLAN_FORMAT
    extension.check(extension.native)


@pytest.mark.parametrize("older", [{}, {"plan_format": lambda: PLAN_FORMAT - 1}])
def test_an_extension_of_another_version_is_refused(older: dict[str, object]) -> None:
    stale = SimpleNamespace(__file__="/somewhere/_native.so", **older)
    with pytest.raises(ExtensionError, match=r"/somewhere/_native\.so .*pip install -e \.") as info:
        extension.check(stale)
    assert isinstance(info.value, IntformerError)
