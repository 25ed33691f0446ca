"""Opening and streaming data, and the errors for data that cannot be used."""

import numpy as np
import pytest
from PIL import Image

from intformer.errors import InputError
from intformer.evaluate.data_files import find_data
from intformer.evaluate.datasets import batches, open_images, spread
from intformer.evaluate.framing import Framing, decode
from intformer.evaluate.photographs import package_photos
from tiny_models import encoded, picture, write_parquet

EXACT = Framing((8, 8))


def test_parquet_struct_and_raw_bytes_give_the_stored_pixels(tmp_path):
    for struct in (True, False):
        labels = [i % 4 for i in range(12)]
        path = write_parquet(tmp_path / f"{struct}.parquet", struct=struct, labels=labels)
        got = list(batches(open_images(path), EXACT, size=5))
        assert [len(b.pixels) for b in got] == [5, 5, 2]
        expected = np.stack([np.asarray(picture(i)) for i in range(12)])
        assert np.array_equal(np.concatenate([b.pixels for b in got]), expected)
        assert np.concatenate([b.labels for b in got]).tolist() == labels
        assert got[1].names[0] == f"{path} row 5"


def test_parquet_without_labels(tmp_path):
    data = open_images(write_parquet(tmp_path / "x.parquet"))
    assert not data.labelled
    assert next(batches(data, EXACT)).labels is None


def test_limit_is_spread_over_all_row_groups(tmp_path):
    data = open_images(write_parquet(tmp_path / "x.parquet", labels=list(range(12))))
    assert next(batches(data, EXACT, limit=4)).labels.tolist() == [0, 3, 6, 9]
    assert next(batches(data, EXACT, limit=99)).labels.tolist() == list(range(12))


@pytest.mark.parametrize(("total", "count"), [(10, 3), (7, 7), (5, 9), (1000, 256)])
def test_spread_is_ascending_and_distinct(total, count):
    rows = spread(total, count)
    assert rows == sorted(set(rows))
    assert len(rows) == min(total, count)
    assert rows[-1] < total


def test_folder_of_classes_labels_by_sorted_name(tmp_path):
    for label, name in enumerate(["cat", "ant", "bee"]):
        (tmp_path / name).mkdir()
        picture(label).save(tmp_path / name / "a.png")
    (tmp_path / "notes.txt").write_text("not an image")
    data = open_images(tmp_path)
    assert data.classes == ["ant", "bee", "cat"]
    batch = next(batches(data, EXACT))
    assert batch.labels.tolist() == [0, 1, 2]
    assert np.array_equal(batch.pixels[2], np.asarray(picture(0)))


def test_flat_folder_has_no_labels(tmp_path):
    picture(1).save(tmp_path / "b.png")
    picture(2).save(tmp_path / "a.png")
    data = open_images(tmp_path)
    assert not data.labelled
    assert data.classes is None
    batch = next(batches(data, EXACT))
    assert batch.labels is None
    assert [n.rsplit("/", 1)[1] for n in batch.names] == ["a.png", "b.png"]


def test_framing_matches_resize_and_centre_crop():
    image = picture(3, (50, 30))
    expected = image.resize((17, 10), Image.Resampling.BICUBIC).crop((4, 1, 12, 9))
    assert np.array_equal(Framing((8, 8), crop_pct=0.8).apply(image), np.asarray(expected))


def test_framing_leaves_an_exact_image_alone_and_makes_three_channels():
    image = picture(4)
    assert np.array_equal(EXACT.apply(image), np.asarray(image))
    grey = image.convert("L")
    assert np.array_equal(EXACT.apply(grey)[..., 2], np.asarray(grey))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 7)])
def test_framing_of_extreme_shapes(size):
    assert Framing((8, 8), crop_pct=0.875).apply(picture(0, size)).shape == (8, 8, 3)


def test_package_photographs_are_varied_and_repeatable():
    data = package_photos(40)
    first = next(batches(data, Framing((32, 32))))
    again = next(batches(package_photos(40), Framing((32, 32))))
    assert np.array_equal(first.pixels, again.pixels)
    assert len({p.tobytes() for p in first.pixels}) == 40
    assert first.pixels.std(axis=(1, 2, 3)).min() > 1
    fewer = next(batches(data, Framing((32, 32)), limit=4))
    assert np.array_equal(fewer.pixels, first.pixels[::10])


def test_photographs_by_name():
    assert len(open_images("photographs")) == 256


def test_find_data_prefers_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("INTFORMER_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    wanted = tmp_path / "cifar10" / "made-up.parquet"
    assert find_data("cifar10/made-up.parquet") is None
    wanted.touch()
    assert find_data("cifar10/made-up.parquet") == wanted


def test_find_data_beside_the_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("INTFORMER_DATA", raising=False)
    (tmp_path / "checkout" / "deep").mkdir(parents=True)
    (tmp_path / "checkout" / "pyproject.toml").touch()
    (tmp_path / "shared" / "data").mkdir(parents=True)
    (tmp_path / "shared" / "data" / "made-up.csv").touch()
    monkeypatch.chdir(tmp_path / "checkout" / "deep")
    assert find_data("made-up.csv") == tmp_path / "shared" / "data" / "made-up.csv"


def read_all(path):
    return list(batches(open_images(path), EXACT))


def test_missing_file():
    with pytest.raises(InputError, match=r"nowhere\.parquet: no such file or folder"):
        read_all("nowhere.parquet")


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no images in this folder"):
        read_all(tmp_path)


def test_folder_with_images_at_both_levels(tmp_path):
    (tmp_path / "cat").mkdir()
    picture(1).save(tmp_path / "cat" / "a.png")
    picture(1).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="both in the folder and in its sub-folders"):
        read_all(tmp_path)


def test_unknown_kind_of_file(tmp_path):
    (tmp_path / "x.zip").touch()
    with pytest.raises(InputError, match=r"x\.zip: not image data"):
        read_all(tmp_path / "x.zip")


def test_not_parquet(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"x\.parquet: not a readable Parquet file"):
        read_all(tmp_path / "x.parquet")


def test_truncated_parquet(tmp_path):
    path = write_parquet(tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_all(path)


def test_parquet_damaged_inside(tmp_path):
    path = write_parquet(tmp_path / "x.parquet")
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.parquet"):
        read_all(path)


def test_parquet_without_image_column(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", column="img")
    with pytest.raises(InputError, match="no column 'image'; it has img"):
        read_all(path)


def test_parquet_image_column_of_another_type(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", images=[1, 2], struct=False)
    with pytest.raises(InputError, match="column 'image' is int64"):
        read_all(path)


def test_parquet_without_rows(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", images=[b"x"])
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(InputError, match="has no rows"):
        read_all(path)


def test_text_labels(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", 2, labels=["cat", "dog"])
    with pytest.raises(InputError, match="column 'label' is string; it must hold class numbers"):
        read_all(path)


@pytest.mark.parametrize("bad", [None, -1])
def test_label_that_is_no_class_number(tmp_path, bad):
    path = write_parquet(tmp_path / "x.parquet", 3, labels=[0, 1, bad])
    with pytest.raises(InputError, match=rf"row 2: label {bad} is not a class number"):
        read_all(path)


@pytest.mark.parametrize("stored", [None, b""])
def test_empty_image_in_parquet(tmp_path, stored):
    path = write_parquet(tmp_path / "x.parquet", images=[encoded(picture(0)), stored])
    with pytest.raises(InputError, match="row 1: the image is empty"):
        read_all(path)


def test_unreadable_image_in_parquet(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", images=[encoded(picture(0)), b"no image at all"])
    with pytest.raises(InputError, match="row 1: not a readable image"):
        read_all(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated_image_file(tmp_path, kind):
    content = encoded(picture(0, (64, 64)), kind)
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.jpg: not a readable image"):
        read_all(tmp_path)


def test_empty_image_file(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=r"a\.png: the image is empty \(0 bytes\)"):
        read_all(tmp_path)


def test_enormous_image_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="not a readable image"):
        decode(encoded(picture(0, (40, 40))), "bomb.png")
