"""Sequence models from module to integer program: exact capture, near results, the same bytes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from small_sequence_models import (
    language_model,
    language_program,
    pairs,
    token_rows,
    translation_program,
    translator,
    translator_graph,
)

from intformer import artifact
from intformer.ir.graph import Array
from intformer.models.transformer import VARIANTS
from intformer.program import Program
from intformer.quantize.float_run import FloatRunner
from intformer.reference import interpret

LEAST_DB = 24.0


def decibels(program: Program, found: Array, wanted: Array) -> float:
    real = found * program.scales["logits"]["scale"]
    return float(10 * np.log10((wanted**2).mean() / ((real - wanted) ** 2).mean()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_capture_is_exact_at_any_lengths(variant: str) -> None:
    model = translator(variant)
    graph = translator_graph(model)
    assert graph.types[graph.outputs["logits"]].shape == ("N", "T", 50)
    ops = {node.op for node in graph}
    kind = "attention" if variant == "softmax" else "polynomial_attention"
    assert kind in ops and ("l1_norm" in ops) == (variant != "softmax")
    for longest in ((9, 7), (3, 11)):
        batch = {k: torch.from_numpy(v.astype(np.int64)) for k, v in pairs(3, 1, longest).items()}
        found = FloatRunner(graph).outputs(batch)["logits"]
        with torch.no_grad():
            torch.testing.assert_close(found, model(*batch.values()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_translation_programs_are_near_their_models(variant: str, norm_first: bool) -> None:
    program, batch = translation_program(variant, norm_first), pairs(6, 77)
    found = program.run(batch)["logits"]
    rows = (torch.from_numpy(v.astype(np.int64)) for v in batch.values())
    with torch.no_grad():
        wanted = translator(variant, norm_first)(*rows).numpy()
    assert decibels(program, found, wanted) > LEAST_DB


@pytest.mark.parametrize("variant", VARIANTS)
def test_language_programs_are_near_their_models(variant: str) -> None:
    program, batch = language_program(variant), token_rows(6, 77)
    with torch.no_grad():
        wanted = language_model(variant)(torch.from_numpy(batch["ids"])).numpy()
    assert decibels(program, program.run(batch)["logits"], wanted) > LEAST_DB


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_engines_give_the_same_bytes(variant: str) -> None:
    program, batch = translation_program(variant), pairs(4, 5, (12, 6))
    wanted = program.run(batch)["logits"]
    assert (interpret(program.graph, batch)["logits"] == wanted).all()
    for flat in (False, True):
        model = artifact.to_onnx(program.graph, flat=flat).SerializeToString()
        (found,) = onnxruntime.InferenceSession(model).run(["logits"], batch)
        assert (found == wanted).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_batch_and_order_change_no_byte(variant: str) -> None:
    """A row alone, without its padding, equals the row among others, in any order."""
    program, batch = translation_program(variant), pairs(7, 9)
    whole = program.run(batch)["logits"]
    order = np.random.default_rng(0).permutation(7)
    shuffled = program.run({k: v[order] for k, v in batch.items()})["logits"]
    assert (shuffled == whole[order]).all()
    for row in range(7):
        length = int(batch["source_mask"][row].sum())
        alone = {k: v[row : row + 1] for k, v in batch.items()}
        alone |= {k: alone[k][:, :length] for k in ("source", "source_mask")}
        alone["target"] = alone["target"][:, : 3 + row % 4]
        found = program.run(alone)["logits"]
        assert (found[0] == whole[row, : found.shape[1]]).all()


def test_tied_embeddings_are_stored_once() -> None:
    program = translation_program("softmax")
    large = [a for a in program.graph.constants.values() if a.size == 50 * 32]
    assert len(large) == 1 and large[0].dtype == np.int8


def test_no_constant_is_stored_twice() -> None:
    """Source and target have the same positions, and many offsets are alike."""
    constants = translation_program("softmax").graph.constants.values()
    stored = [(a.dtype.str, a.shape, a.tobytes()) for a in constants]
    assert len(set(stored)) == len(stored)
