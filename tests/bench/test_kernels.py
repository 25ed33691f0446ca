"""``intformer bench --kernels`` on small shapes."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from intformer.cli.main import app
from intformer.evaluate.bench.kernel_graphs import (
    WEIGHTS,
    others,
    products,
    random_weight,
    repeated,
)
from intformer.ir.lanes import safe_group
from intformer.ir.verify import verify
from intformer.reference import interpret
from intformer.runtime.session import Session, describe

LEVELS = describe().get("levels", [])
KERNELS = [*products(5, 64, 48, all_weights=True), *others(6, 64)]


def kernels(*arguments):
    return CliRunner().invoke(app, ["bench", "--kernels", *(str(a) for a in arguments)])


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: f"{k.name}-{k.weights}")
def test_what_is_timed_is_a_proven_program_that_computes_the_reference(kernel):
    verify(kernel.graph)
    made, wanted = Session(kernel.graph).run(kernel.inputs), interpret(kernel.graph, kernel.inputs)
    assert np.array_equal(made["out"], wanted["out"])
    assert len(np.unique(wanted["out"])) > 2


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: f"{k.name}-{k.weights}")
def test_copies_of_a_kernel_compute_the_same_over_and_over(kernel):
    graph = repeated(kernel, 3)
    verify(graph)
    made, wanted = Session(graph).run(kernel.inputs), interpret(kernel.graph, kernel.inputs)
    assert len(made) == 3
    assert all(np.array_equal(one, wanted["out"]) for one in made.values())


def test_weights_just_satisfy_the_condition_of_their_kind():
    found = {kind: safe_group(random_weight(kind, 64, 96)) for kind in WEIGHTS}
    assert found == {"any": 1, "symmetric": 1, "safe2": 2, "safe4": 4, "safe8": 8}
    assert random_weight("any", 64, 96).min() == -128
    assert random_weight("symmetric", 64, 96).min() == -127


@pytest.mark.skipif("avx2" not in LEVELS, reason="this CPU has no AVX2")
def test_rows_have_rates_limits_and_shares(tmp_path):
    file = tmp_path / "kernels.md"
    done = kernels(
        "--quick", "--threads", 1, "--levels", "portable,avx2", "--shapes", "64x48",
        "--rows", 48, "--markdown", file, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    forms = {r["weights"]: r["form"] for r in rows if r["level"] == "avx2" and r["weights"]}
    assert forms == {
        "any": "split", "safe2": "pairs2", "safe4": "pairs4", "safe8": "pairs8",
        "packed4": "nibbles",
    }  # fmt: skip
    for row in rows:
        assert 0 < row["median"] <= row["best"]
        assert (row["share"] is None) == (row["level"] == "portable" and row["unit"] == "GMAC/s")
    text = file.read_text()
    assert text.count("### avx2") == 1 and text.count("| linear+") == text.count("| 48 | 64 | 48 |")


def test_what_cannot_be_measured_is_one_line():
    for arguments, message in [
        (["--shapes", "192"], "--shapes 192: give depths and columns, for example"),
        (["--levels", "sse9"], "--levels: no level 'sse9' here"),
    ]:
        done = kernels(*arguments)
        assert done.exit_code == 2 and message in done.stderr
