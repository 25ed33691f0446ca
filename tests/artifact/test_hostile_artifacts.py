"""Broken and hostile files: each gets its own clear error, before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

import hostile_files
import hostile_sizes
import hostile_structure
import hostile_values
import pytest
from corruptions import CORRUPTIONS, sound
from onnx import ModelProto

from intformer import artifact
from intformer.errors import ArtifactError, VerifyError

MODULES = (hostile_files, hostile_sizes, hostile_structure, hostile_values)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption_is_named(name: str) -> None:
    mutate, message, base = CORRUPTIONS[name]
    model = ModelProto.FromString(sound(base))
    content = mutate(model)
    with pytest.raises(VerifyError) as raised:
        artifact.load_bytes(model.SerializeToString() if content is None else content)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_sound_files_load() -> None:
    for base in ("vit", "bert"):
        artifact.load_bytes(sound(base))
        artifact.load_bytes(ModelProto.FromString(sound(base)).SerializeToString())


def test_there_are_many_corruptions() -> None:
    """Each module registered what it defines under a name of its own."""
    defined = [name for module in MODULES for name in vars(module) if name in CORRUPTIONS]
    assert len(defined) == len(CORRUPTIONS) >= 100


# Paths


def refused(path: Path, message: str, **options: int) -> None:
    with pytest.raises(ArtifactError, match=message) as raised:
        artifact.load(path, **options)
    assert str(path) in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "missing.onnx", "there is no such file")


def test_directory(tmp_path: Path) -> None:
    refused(tmp_path, "it is a directory|not a regular file")


def test_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


def test_device() -> None:
    refused(Path("/dev/zero"), "not a regular file")


def test_path_with_a_null_byte() -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.load("a\0b")


def test_size_is_limited_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "program.onnx"
    path.write_bytes(sound("vit"))
    refused(path, "bytes, at most 1000 are allowed", max_bytes=1000)


def test_sparse_file_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2**40)
    refused(path, "bytes, at most 2147483647 are allowed")


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(sound("vit")[:-7])
    refused(path, "truncated")
