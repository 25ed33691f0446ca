"""Programs of decoding give the bytes of the forward program."""

from __future__ import annotations

import numpy as np
import pytest
from small_programs import WORDS, language, translation

from intformer.errors import InputError
from intformer.generate.cut import StepPrograms, cut
from intformer.ir.graph import Array, Graph
from intformer.ir.verify import verify
from intformer.reference import interpret
from intformer.runtime.session import Session
from programs import Builder, bert_like

FORWARD = {
    "translation": translation,
    "polynomial": lambda: translation(polynomial=True),
    "language": language,
}
ROWS, STEPS = 5, 7
Engine = {"reference": interpret, "native": lambda graph, inputs: Session(graph).run(inputs)}


def inputs_for(forward: Graph, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    found = {
        "target" if "target" in forward.inputs else "ids": rng.integers(0, WORDS, (ROWS, STEPS))
    }
    if "source" in forward.inputs:
        found["source"] = rng.integers(0, WORDS, (ROWS, 6))
        lengths = rng.integers(1, 7, (ROWS, 1))
        found["source_mask"] = (np.arange(6) < lengths).astype(np.uint8)
    return found


def start(programs: StepPrograms, inputs: dict[str, Array], run, capacity: int) -> dict[str, Array]:
    """Inputs of the first step but its tokens; the cache is full of rubbish."""
    state = {name: inputs[name] for name in programs.shared}
    if programs.encoder is not None:
        sources = {name: inputs[name] for name in programs.encoder.inputs}
        state |= run(programs.encoder, sources)
    for name in programs.caches:
        width = programs.step.inputs[name].shape[-1]
        state[name] = np.random.default_rng(9).integers(0, 256, (ROWS, capacity, width), np.uint8)
    return {**state, "position": np.zeros(ROWS, np.int64)}


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("name", FORWARD)
def test_steps_equal_the_forward_program(name: str, engine: str) -> None:
    forward, run = FORWARD[name](), Engine[engine]
    programs = cut(forward)
    inputs = inputs_for(forward)
    wanted = interpret(forward, inputs)["logits"]
    assert wanted.std() > 100
    tokens = inputs.get("target", inputs.get("ids"))
    state = start(programs, inputs, run, STEPS + 4)
    for first, last in ((0, 3), (3, 4), (4, 5), (5, 7)):
        found = run(programs.step, {**state, "tokens": tokens[:, first:last]})
        assert (found.pop("logits") == wanted[:, first:last]).all()
        state |= {**found, "position": state["position"] + (last - first)}


@pytest.mark.parametrize("name", FORWARD)
def test_rows_of_different_lengths_share_a_step(name: str) -> None:
    forward = FORWARD[name]()
    programs, inputs = cut(forward), inputs_for(forward)
    tokens = inputs.get("target", inputs.get("ids"))
    wanted = interpret(forward, inputs)["logits"]
    state = start(programs, inputs, interpret, STEPS)
    lengths = np.array([3, 1, 2, 3, 2])
    found = interpret(programs.step, {**state, "tokens": tokens[:, :3]})
    found.pop("logits")
    state |= {**found, "position": lengths}
    following = tokens[np.arange(ROWS), lengths][:, None]
    made = interpret(programs.step, {**state, "tokens": following})["logits"]
    assert (made[:, 0] == wanted[np.arange(ROWS), lengths]).all()


@pytest.mark.parametrize("name", FORWARD)
def test_cut_programs_are_proved_and_hold_no_more_than_they_need(name: str) -> None:
    forward = FORWARD[name]()
    programs = cut(forward)
    verify(programs.step)
    held = set(programs.step.constants)
    if programs.encoder is not None:
        verify(programs.encoder)
        held |= set(programs.encoder.constants)
        assert not set(programs.encoder.constants) & set(programs.step.constants)
        assert programs.shared == ("source_mask",) and len(programs.memory) == 4
    assert held == set(forward.constants)
    assert len(programs.caches) == 4


def test_programs_that_cannot_be_decoded_are_refused() -> None:
    with pytest.raises(InputError, match="no output 'logits'"):
        cut(bert_like())
    build = Builder(0, limits={"N": 4, "T": 8})
    x = build.input("ids", "uint8", ("N", "T", 4))
    y = build.node("attention", x, x, x, name="layer.0.attn", heads=1, dtype="uint8",
                   q_zero=0, k_zero=0, v_zero=0, limit=50_000, multiplier=30_000, exp_shift=19,
                   gain=2**31, offset=1 << 30, shift=31)  # fmt: skip
    build.output("logits", y)
    with pytest.raises(InputError, match=r"attention at 'layer\.0\.attn' brings target positions"):
        cut(build.graph)
