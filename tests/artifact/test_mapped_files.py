"""Programs read their weights from the mapped file; what happens to the file harms nobody."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import intformer
from intformer import artifact
from intformer.errors import ArtifactError
from intformer.ir.graph import Array, Graph
from intformer.ir.verify import verify
from intformer.reference import interpret
from intformer.runtime import Session
from programs import Builder, random_inputs, vit_like

pytest.importorskip("intformer._native")


def wide_program() -> Graph:
    """A linear layer whose weight is too large to be copied out of the file."""
    builder = Builder(3, {"N": 64})
    builder.output("y", builder.linear(builder.input("x", "uint8", ("N", 512)), 256, "wide"))
    return builder.graph


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    artifact.save(wide_program(), tmp_path / "wide.onnx")
    return tmp_path / "wide.onnx"


def weight_of(graph: Graph) -> Array:
    return max(graph.constants.values(), key=lambda array: array.nbytes)


def cut(path: Path) -> None:
    os.truncate(path, 100)


def overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(0, 0))


def test_large_weights_are_views_that_cannot_be_written(saved: Path) -> None:
    weight = weight_of(artifact.load(saved))
    assert weight.nbytes == 512 * 256 and not weight.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        weight[0, 0] = 1


def test_running_from_the_file_is_running_from_memory(saved: Path) -> None:
    graph, other = artifact.load(saved), artifact.load_bytes(saved.read_bytes())
    x = random_inputs(graph, {"N": 5})
    wanted = interpret(other, x)
    found = Session(graph).run(x)
    assert all((found[name] == wanted[name]).all() for name in wanted)
    graph.release_constants()
    assert (weight_of(graph) == weight_of(other)).all()


Harm = Callable[[Path], None]


@pytest.mark.parametrize("harm", [cut, overwrite])
def test_a_changed_file_is_an_error_wherever_constants_are_read(saved: Path, harm: Harm) -> None:
    graph = artifact.load(saved)
    x = random_inputs(graph, {"N": 5})
    harm(saved)
    for use in (lambda: verify(graph), lambda: interpret(graph, x), lambda: Session(graph).run(x)):
        with pytest.raises(
            ArtifactError, match=r"file '.*wide.onnx' was changed while it was in use"
        ):
            use()
    assert weight_of(graph).shape == (512, 256)


@pytest.mark.parametrize("harm", [cut, overwrite, os.unlink])
def test_a_planned_session_needs_its_file_no_more(saved: Path, harm: Harm) -> None:
    graph = artifact.load(saved)
    session, x = Session(graph), random_inputs(graph, {"N": 5})
    wanted = session.run(x)
    harm(saved)
    more = {name: np.concatenate([array, array]) for name, array in x.items()}
    found = session.run(more)
    for name, array in wanted.items():
        assert (found[name] == np.concatenate([array, array])).all()


def test_replacing_a_file_by_renaming_harms_nobody(saved: Path) -> None:
    graph = artifact.load(saved)
    kept = weight_of(graph).copy()
    artifact.save(vit_like(), saved)
    verify(graph)
    assert (weight_of(graph) == kept).all()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_copies_have_memory_of_their_own(saved: Path, again: Callable[[Graph], Graph]) -> None:
    graph = artifact.load(saved)
    other = again(graph)
    assert other.backing is None
    kept = weight_of(graph).copy()
    cut(saved)
    verify(other)
    assert (weight_of(other) == kept).all()


FOREIGN = """
import mmap, sys, tempfile
from intformer import load
load(sys.argv[1])
with tempfile.TemporaryFile() as file:
    file.truncate(8192)
    other = mmap.mmap(file.fileno(), 8192, prot=mmap.PROT_READ)
    file.truncate(0)
    other[5000]
"""


def test_signals_of_other_mappings_are_not_swallowed(saved: Path) -> None:
    source = str(Path(intformer.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run([sys.executable, "-c", FOREIGN, str(saved)], env=environment, timeout=60)
    assert done.returncode == -7


def test_many_mapped_files_at_once(saved: Path) -> None:
    """Past the number of mappings that the signal handler knows, files are read."""
    graphs = [artifact.load(saved) for _ in range(300)]
    assert {graph.backing is None for graph in graphs} == {False, True}
    assert all((weight_of(graph) == weight_of(graphs[0])).all() for graph in graphs)
