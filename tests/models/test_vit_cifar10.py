"""The zoo's vision transformer on CIFAR-10: the same bytes everywhere, almost the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from whole_models import (
    REALISATIONS,
    Whole,
    assert_same,
    data_or_skip,
    float_places,
    in_batches,
    quantize_whole,
    rows,
)

from emulated import run_on_arm
from intformer.cli.loading import calibration
from intformer.evaluate.accuracy import accuracy
from intformer.evaluate.datasets import batches, open_images
from intformer.evaluate.framing import Framing
from intformer.frontend.sources import zoo_folders
from intformer.ir.graph import Array
from intformer.quantize.qat import Twin, convert, prepare
from intformer.runtime.session import native

IMAGES = 64


@pytest.fixture(scope="module")
def test_data() -> Path:
    return data_or_skip("cifar10/test.parquet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """256 unlabelled images, the default recipe."""
    data = data_or_skip("cifar10/train.parquet")
    return quantize_whole(tmp_path_factory.mktemp("vit"), "zoo:vit_cifar10", data, 256)


@pytest.fixture(scope="module")
def inputs(whole: Whole, test_data: Path) -> dict[str, Array]:
    framing = Framing.of_source(whole.source.preprocess)
    (batch,) = batches(open_images(test_data), framing, size=IMAGES, limit=IMAGES)
    return {"pixels": batch.pixels}


@pytest.fixture(scope="module")
def wanted(whole: Whole, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the reference computes."""
    return in_batches(whole.realisation("reference"), inputs, 32)


@pytest.mark.parametrize("kind", REALISATIONS)
def test_every_realisation_gives_the_bytes_of_the_reference(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], kind: str
) -> None:
    assert_same(whole.graph, in_batches(whole.realisation(kind), inputs, 32), wanted)


@pytest.mark.parametrize("kind", ["reference", "structured", "native"])
def test_an_output_depends_on_its_own_image_alone(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], kind: str
) -> None:
    run = whole.realisation(kind)
    for size, count in ((1, 6), (3, 9), (8, 16), (64, 64)):
        found = in_batches(run, rows(inputs, slice(count)), size)
        assert_same(whole.graph, found, rows(wanted, slice(count)))
    order = np.random.default_rng(0).permutation(IMAGES)
    assert_same(whole.graph, run(rows(inputs, order)), rows(wanted, order))


RUN = """
import sys, other_process, intformer, numpy
program = intformer.load(sys.argv[1], threads=2)
numpy.savez(sys.argv[3], **program.run(dict(numpy.load(sys.argv[2]))))
"""


@pytest.mark.parametrize("level", ["dotprod", "i8mm"])
def test_arm_kernels_give_the_bytes_of_the_reference(
    whole: Whole, inputs: dict[str, Array], wanted: dict[str, Array], level: str, tmp_path: Path
) -> None:
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    np.savez(given, **rows(inputs, slice(8)))
    done = run_on_arm(level, "-c", RUN, str(whole.structured), str(given), str(found))
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(whole.graph, dict(np.load(found)), rows(wanted, slice(8)))


@pytest.mark.parametrize(("form", "share"), [("structured", 0.27), ("flat", 0.27)])
def test_the_artifact_is_small_and_holds_no_float(whole: Whole, form: str, share: float) -> None:
    path: Path = getattr(whole, form)
    assert float_places(onnx.load(path)) == []
    folder = next(f for f in zoo_folders() if (f / "vit_cifar10").is_dir())
    assert path.stat().st_size <= share * (folder / "vit_cifar10/model.safetensors").stat().st_size


def test_every_range_is_proved(whole: Whole) -> None:
    proof = whole.program.verify()
    assert set(proof.ranges) == set(whole.graph.types)
    assert proof.accumulator_bits <= 32


def test_accuracy_is_kept(whole: Whole, test_data: Path) -> None:
    limit = None if native else 500
    found = accuracy(whole.program, open_images(test_data), source=whole.source, limit=limit)
    assert found.top1 is not None and found.float_top1 is not None and found.agreement is not None
    assert found.float_top1 > 75
    assert found.top1 >= found.float_top1 - (0.3 if native else 1.0)
    assert found.agreement >= 98


def prepared(whole: Whole) -> Twin:
    """Calibrated on 16 images."""
    images = calibration(whole.source, str(data_or_skip("cifar10/train.parquet")), 16)
    return prepare(whole.source, images)


def twin_loss(twin: Twin, pixels: Array) -> torch.Tensor:
    """Cross entropy with fixed wrong labels: far from an optimum."""
    labels = torch.arange(len(pixels)) % 10
    return torch.nn.functional.cross_entropy(twin(pixels=pixels)["logits"], labels)


def test_the_trainable_twin_is_its_program(
    whole: Whole, inputs: dict[str, Array], tmp_path: Path
) -> None:
    twin, pixels = prepared(whole), inputs["pixels"][:16]
    before = twin_loss(twin, pixels)
    before.backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())
    torch.optim.SGD(twin.parameters(), lr=1e-2).step()
    with torch.no_grad():
        assert twin_loss(twin, pixels) < before
        logits = twin(pixels=pixels)["logits"]
    program = convert(twin)
    wanted = program.run({"pixels": pixels})["logits"]
    assert (np.rint(logits.double().numpy() / program.scales["logits"]["scale"]) == wanted).all()
    assert (twin.integers(pixels=pixels)["logits"] == wanted).all()
    other = prepared(whole)
    other.load_state_dict(twin.state_dict())
    for name, trained in (("a.onnx", program), ("b.onnx", convert(other))):
        trained.save(tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
