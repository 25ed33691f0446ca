"""What a user feeds to a program: every mistake has one clear message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intformer.errors import InputError
from intformer.ir.graph import Graph, TensorType
from intformer.ir.inputs import check_inputs


def encoder() -> Graph:
    return Graph(
        "integer",
        inputs={"ids": TensorType("int64", ("N", "S")), "mask": TensorType("uint8", ("N", "S"))},
        limits={"S": 16},
        input_ranges={"ids": (0, 99), "mask": (0, 1)},
    )


def classifier() -> Graph:
    return Graph("integer", inputs={"pixels": TensorType("uint8", ("N", 8, 8, 3))})


def tokens(n: int = 2, s: int = 5, dtype: str = "int64") -> Any:
    return np.arange(n * s).reshape(n, s).astype(dtype)


def pixels(*shape: int, dtype: str = "uint8") -> Any:
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint64", "int64"])
def test_any_integer_type_is_taken_and_converted(dtype: str) -> None:
    checked = check_inputs(encoder(), {"ids": tokens(dtype=dtype), "mask": np.ones((2, 5), bool)})
    assert checked["ids"].dtype == np.int64
    assert checked["mask"].dtype == np.uint8
    assert (checked["ids"] == tokens()).all()


def test_lists_are_taken() -> None:
    checked = check_inputs(encoder(), {"ids": [[1, 2]], "mask": [[1, 0]]})  # type: ignore[dict-item]
    assert checked["ids"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"missing \['pixels'\]; this program takes pixels: uint8\[N, 8, 8, 3\]"),
        ({"image": 0, "pixels": 0}, r"unknown \['image'\]"),
        ({"image": 0}, r"missing \['pixels'\], unknown \['image'\]"),
        ({"pixels": pixels(2, 8, 8, 3) / 255}, "must be integers .uint8., got float64; .* raw"),
        ({"pixels": pixels(2, 8, 8, 3, dtype="float32")}, "must be integers .uint8., got float32"),
        ({"pixels": pixels(2, 3, 8, 8)}, "pixels are channels-last, use array.transpose"),
        ({"pixels": pixels(8, 8, 3)}, r"must have shape \(N, 8, 8, 3\), got \(8, 8, 3\)"),
        ({"pixels": pixels(2, 8, 9, 3)}, r"must have shape \(N, 8, 8, 3\), got \(2, 8, 9, 3\)"),
        ({"pixels": pixels(0, 8, 8, 3)}, "is empty: dimension N is 0"),
        ({"pixels": pixels(1, 8, 8, 3, dtype="int32") - 1}, r"value -1 is outside \[0, 255\]"),
        ({"pixels": pixels(1, 8, 8, 3, dtype="int32") * 2}, r"value 510 is outside \[0, 255\]"),
        ({"pixels": [[1, 2], [3]]}, "'pixels' is not an array"),
        ({"pixels": "photo.png"}, "must have shape"),
        ({"pixels": np.array(["a"] * 192).reshape(1, 8, 8, 3)}, "must be integers"),
    ],
)
def test_pictures_that_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_inputs(classifier(), inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (tokens(2, 17), np.ones((2, 17), np.uint8), "dimension S is 17, at most 16"),
        (tokens(2, 5), np.ones((2, 4), np.uint8), "S is 5 in another input"),
        (tokens(2, 5), np.ones((3, 5), np.uint8), "N is 2 in another input"),
        (tokens(2, 5) + 90, np.ones((2, 5), np.uint8), r"'ids': value 99|value 9\d|value 100"),
        (tokens(2, 5) - 1, np.ones((2, 5), np.uint8), r"'ids': value -1 is outside \[0, 99\]"),
        (tokens(2, 5), np.full((2, 5), 2), r"'mask': value 2 is outside \[0, 1\]"),
        (np.full((1, 1), 2**64 - 1, np.uint64), np.ones((1, 1), np.uint8), "outside"),
    ],
)
def test_tokens_that_are_refused(ids: Any, mask: Any, message: str) -> None:
    if message.startswith("'ids': value 99"):
        ids = ids + 1
    with pytest.raises(InputError, match=message):
        check_inputs(encoder(), {"ids": ids, "mask": mask})
