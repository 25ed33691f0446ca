"""``quantize`` from a module to a file, and one clear line for calibration data it cannot use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import bert_graph, encoder, graph_of, pictures, sentences, snr

import intformer
from intformer.errors import InputError, IntformerError
from intformer.quantize.api import quantize


def test_a_module_becomes_a_file_that_runs_alone(tmp_path: Path) -> None:
    model, test = encoder(), {"pixels": pictures(16, 9)}
    stages: list[tuple[str, int, int]] = []
    program = intformer.quantize(
        model, [pictures(16, seed) for seed in (1, 2)], progress=lambda *step: stages.append(step)
    )
    assert snr(program, graph_of(model), test) > 35
    assert all(0 <= done <= total for _, done, total in stages) and len(stages) > 10
    program.save(tmp_path / "encoder.onnx")
    found = intformer.load(tmp_path / "encoder.onnx").run(test)
    for name, array in program.run(test).items():
        assert (found[name] == array).all()


@pytest.mark.parametrize(("recipe", "least"), [("w6a6", 24), ("w4a8", 18), ("w4a4", 9)])
def test_low_bits(tmp_path: Path, recipe: str, least: float) -> None:
    model, test = encoder(), {"pixels": pictures(16, 9)}
    program = intformer.quantize(model, [pictures(16, seed) for seed in (1, 2)], recipe)
    assert snr(program, graph_of(model), test) > least
    assert "linear16" not in {node.op for node in program.graph}  # the name says the bits
    weights = {type_.dtype for name, type_ in program.graph.types.items() if "packed" in name}
    assert weights == ({"uint8"} if recipe.startswith("w4") else set())
    program.save(tmp_path / "encoder.onnx")
    found = intformer.load(tmp_path / "encoder.onnx").run(test)
    for name, array in program.run(test).items():
        assert (found[name] == array).all()


def test_quantizing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantize(encoder(), [pictures(16, 1)]).save(tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_neither_the_model_nor_the_samples_are_changed() -> None:
    model, samples = encoder(), pictures(16, 1)
    before, kept = {k: v.clone() for k, v in model.state_dict().items()}, samples.copy()
    quantize(model, [samples])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert (samples == kept).all()


def test_the_program_remembers_its_recipe() -> None:
    program = quantize(encoder(), [pictures(16, 1)], {"weight_bits": 6, "name": "mine"})
    recipe = json.loads(program.graph.metadata["recipe"])
    assert (recipe["name"], recipe["weight_bits"]) == ("mine", 6)
    assert intformer.load_recipe(recipe).weight_bits == 6


def test_mean_and_std_are_folded() -> None:
    mean, std = (0.1, 0.4, 0.7), (0.5, 0.2, 0.3)
    test = pictures(16, 9)
    program = quantize(encoder(), [pictures(16, 1)], mean=mean, std=std)
    x = (test / 255 - np.array(mean)) / np.array(std)
    with torch.no_grad():
        exact = encoder()(torch.from_numpy(x.astype(np.float32).transpose(0, 3, 1, 2))).numpy()
    (name, affine) = next(iter(program.scales.items()))
    noise = program.run({"pixels": test})[name] * affine["scale"] - exact
    assert (exact**2).sum() / (noise**2).sum() > 1000


def test_calibration_may_be_a_generator_of_dictionaries() -> None:
    program = quantize(encoder(), ({"pixels": pictures(8, seed)} for seed in (1, 2)))
    same = quantize(encoder(), [pictures(8, seed) for seed in (1, 2)])
    test = {"pixels": pictures(4, 9)}
    for name, array in same.run(test).items():
        assert (program.run(test)[name] == array).all()


BAD_PICTURES: dict[str, tuple[Any, str]] = {
    "nothing": ([], "calibration data is empty"),
    "normalised floats": ([np.zeros((2, 16, 16, 3), np.float32)], "raw uint8.*float32"),
    "channels first": ([np.zeros((2, 3, 16, 16), np.uint8)], r"\(N, 16, 16, 3\), got.*\(2, 3"),
    "another size": ([pictures(2, 1, side=20)], r"got uint8 \(2, 20, 20, 3\)"),
    "one image": ([pictures(1, 1)[0]], r"got uint8 \(16, 16, 3\)"),
    "no images in a batch": ([pictures(2, 1)[:0]], "empty|no images"),
    "another name": ([{"images": pictures(2, 1)}], r"'images'.*'pixels'"),
    "two inputs": ([{"pixels": pictures(2, 1), "mask": np.ones((2, 4))}], "'mask'"),
    "a bad batch after a good one": ([pictures(2, 1), "photo.png"], "raw uint8"),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_bad_pictures(case: str) -> None:
    batches, message = BAD_PICTURES[case]
    with pytest.raises(InputError, match=message) as caught:
        quantize(graph_of(encoder()), batches)
    assert "\n" not in str(caught.value)


def changed(**arrays: Any) -> list[dict[str, Any]]:
    return [{**sentences(4, 1), **arrays}]


BAD_SENTENCES: dict[str, tuple[Any, str]] = {
    "a bare array": ([sentences(4, 1)["input_ids"]], "must be dictionaries"),
    "no mask": ([{"input_ids": sentences(4, 1)["input_ids"]}], "attention_mask"),
    "ids beyond the vocabulary": (changed(input_ids=np.full((4, 9), 60)), "60"),
    "negative ids": (changed(input_ids=np.full((4, 9), -1)), "-1"),
    "floats for ids": (changed(input_ids=np.full((4, 9), 1.5)), "integers"),
    "sequence beyond the limit": (
        changed(input_ids=np.ones((4, 13), int), attention_mask=np.ones((4, 13), int)),
        "13.*12|12.*13",
    ),
    "mask of another length": (changed(attention_mask=np.ones((4, 8), int)), "attention_mask"),
}


@pytest.mark.parametrize("case", BAD_SENTENCES)
def test_bad_sentences(case: str) -> None:
    batches, message = BAD_SENTENCES[case]
    with pytest.raises(InputError, match=message) as caught:
        quantize(bert_graph(), batches)
    assert "\n" not in str(caught.value)


def test_an_empty_calibration_of_a_module() -> None:
    with pytest.raises(InputError, match="calibration data is empty"):
        quantize(encoder(), [])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["patches.weight", "layers.1.inner.1.bias", "layers.2.weight"])
def test_broken_weights_get_one_clear_line(where: str, value: float) -> None:
    model = encoder()
    with torch.no_grad():
        model.get_parameter(where).view(-1)[3] = value
    with pytest.raises(IntformerError, match="NaN or infinit") as caught:
        quantize(model, [pictures(8, 1)])
    assert "\n" not in str(caught.value)


def test_pictures_that_are_all_one_colour_get_one_clear_line() -> None:
    """Nothing varies, so no range can be chosen: an error that names a layer, not a crash."""
    with pytest.raises(IntformerError, match=r"layers\.0") as caught:
        quantize(encoder(), [np.full((8, 16, 16, 3), 90, np.uint8)])
    assert "\n" not in str(caught.value)
