"""Order, augmentation and mixing follow from the seeds alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_case import CLASSES, COUNT, OPTIONS, SIDE, write_pictures

from intformer.errors import InputError
from intformer.evaluate.datasets import open_images
from intformer.evaluate.framing import Framing
from intformer.train.augment import Augmentation, Mixing
from intformer.train.data import Place, TrainingImages
from intformer.train.options import Options
from tiny_models import write_parquet

FRAMING = Framing((SIDE, SIDE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def images(folder: Path, options: Options, place: Place = Place()) -> TrainingImages:  # noqa: B008
    return TrainingImages(
        open_images(folder),
        Augmentation(FRAMING, options),
        Mixing(options, CLASSES),
        options,
        place,
    )


@pytest.mark.parametrize("augment", ["", "rand-m9-n2-mstd0.5-inc1"])
def test_a_step_is_the_same_wherever_one_starts(folder: Path, augment: str) -> None:
    options = Options(epochs=2.0, batch_size=8, mixup=0.8, cutmix=1.0, rand_augment=augment)
    whole = list(images(folder, options).batches())
    assert len(whole) == 2 * (COUNT // 8)
    for (step, pixels, targets), later in zip(
        whole[7:], images(folder, options).batches(7), strict=True
    ):
        assert step == later[0]
        assert (pixels == later[1]).all() and (targets == later[2]).all()
    assert (whole[0][1] != whole[6][1]).any()


def test_processes_share_an_epoch(folder: Path) -> None:
    options = Options(batch_size=4)
    rows = [
        row
        for rank in range(3)
        for step in range(COUNT // 12)
        for row in images(folder, options, Place(rank, 3)).rows(step)
    ]
    assert sorted(rows) == list(range(COUNT))


@pytest.mark.parametrize("crop", ["pad", "resized", "none"])
def test_crops_keep_the_size_and_vary(crop: str) -> None:
    made = Augmentation(FRAMING, Options(crop=crop))  # type: ignore[arg-type]
    random = np.random.default_rng(3)
    picture = Image.fromarray(random.integers(0, 256, (40, 30, 3)).astype(np.uint8))
    found = {made(picture, epoch, 5).tobytes() for epoch in range(12)}
    assert made(picture, 3, 5).shape == (SIDE, SIDE, 3)
    assert len(found) == 2 if crop == "none" else len(found) >= 8


def test_targets_are_distributions_and_mixing_follows_them(folder: Path) -> None:
    options = Options(batch_size=8, cutmix=1.0, smoothing=0.0, flip=False, crop="none", seed=1)
    _, mixed, soft = next(images(folder, options).batches())
    _, plain, hard = next(images(folder, Options(**{**vars(options), "cutmix": 0.0})).batches())
    assert (soft.sum(1) - 1).abs().max() < 1e-6 and (hard.sum(1) == 1).all()
    taken = (mixed == plain).all(-1).float().mean((1, 2))
    own = (soft * hard).sum(1)
    other = (soft * hard.flip(0)).sum(1)
    fresh = hard.argmax(1) != hard.argmax(1).flip(0)
    assert bool(fresh.any())
    assert ((taken - own)[fresh].abs() < 0.02).all()
    assert ((own + other)[fresh] - 1).abs().max() < 1e-6


def test_mixup_blends_pixels_as_it_blends_targets(folder: Path) -> None:
    """Image i and image B-1-i with one weight for the batch (arXiv 1710.09412)."""
    options = Options(batch_size=8, mixup=1.0, smoothing=0.0, flip=False, crop="none", seed=2)
    _, mixed, soft = next(images(folder, options).batches())
    _, plain, hard = next(images(folder, Options(**{**vars(options), "mixup": 0.0})).batches())
    fresh = hard.argmax(1) != hard.argmax(1).flip(0)
    own = (soft * hard).sum(1)[fresh]
    share = float(own[0])
    assert 0.05 < share < 0.95 and (own - share).abs().max() < 1e-6
    blend = share * plain.float() + (1 - share) * plain.flip(0).float()
    assert (mixed.float() - blend).abs().max() <= 0.51
    assert ((share * hard + (1 - share) * hard.flip(0)) - soft).abs().max() < 1e-6


def test_smoothed_targets() -> None:
    _, target = Mixing(Options(smoothing=0.3), 3)(
        np.zeros((1, 2, 2, 3), np.uint8), np.array([1]), 0, 0
    )
    assert np.allclose(target.numpy(), [[0.1, 0.8, 0.1]])


def test_parquet_rows_in_any_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data.parquet", 150, labels=[i % 7 for i in range(150)])
    data = open_images(tmp_path / "data.parquet")
    pick, everything = data.random_access(), list(data.read())
    for row in (149, 0, 64, 63, 149):
        assert pick(row).label == everything[row].label
        assert pick(row).image.tobytes() == everything[row].image.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": -1.0}, "epochs"),
        ({"distill": 1.5}, "distill"),
        ({"batch_size": 0}, "batch-size"),
        ({"ema": 1.0}, "ema"),
    ],
)
def test_options_out_of_range_are_named(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**changes)


def test_what_cannot_be_augmented_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="rand-m9"):
        Augmentation(FRAMING, Options(rand_augment="nonsense"))
    with pytest.raises(InputError, match="even"):
        Mixing(Options(batch_size=7, mixup=1.0), 3)
    with pytest.raises(InputError, match="fewer than one batch"):
        images(folder, Options(batch_size=1000))


def test_the_rate_warms_up_and_falls() -> None:
    rates = [OPTIONS.rate(step, 100) for step in range(100)]
    assert rates[0] < rates[3] < rates[4] <= 1.0
    assert max(rates) == rates[5] == 1.0
    assert abs(rates[-1] - OPTIONS.final_rate) < 1e-9
