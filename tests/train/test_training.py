"""Trainings stop, go on, run in several processes, and always make the same program."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_case import COUNT, artifact, trainer, write_pictures
from two_processes import run_two

from intformer.errors import InputError
from intformer.train.log import FIELDS, read_log


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[dict]]:
    """The program and the log of a training without interruption."""
    work = tmp_path_factory.mktemp("unbroken")
    made = trainer(data, work)
    assert made.run()
    return artifact(made, work / "program.onnx"), read_log(work / "log.csv")


def test_the_loss_falls_and_is_logged(unbroken: tuple[bytes, list[dict]]) -> None:
    _, log = unbroken
    assert [row["step"] for row in log] == list(range(1, 10))
    assert tuple(log[0]) == FIELDS
    losses = [row["loss"] for row in log]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    rates = [row["learning_rate"] for row in log]
    assert max(rates) == rates[0] and rates[-1] < rates[0] / 50


@pytest.mark.parametrize("stops", [(1,), (2, 5), (8,)])
def test_a_stopped_training_goes_on_to_the_same_program(
    stops: tuple[int, ...], data: Path, unbroken: tuple[bytes, list[dict]], tmp_path: Path
) -> None:
    for index, step in enumerate(stops):
        assert not trainer(data, tmp_path).run(resume=index > 0, stop_after=step)
    torch.manual_seed(12345)
    np.random.seed(1)
    made = trainer(data, tmp_path)
    assert made.run(resume=True)
    assert artifact(made, tmp_path / "program.onnx") == unbroken[0]
    found = read_log(tmp_path / "log.csv")
    assert [row["loss"] for row in found] == [row["loss"] for row in unbroken[1]]


@pytest.mark.parametrize("learn", [False, True])
def test_an_interrupt_saves_the_step(learn: bool, data: Path, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    made = trainer(data, tmp_path / "a", learn_scales=learn, epochs=1.0)
    made.progress = interrupt
    assert not made.run()
    assert signal.getsignal(signal.SIGINT) is before
    again = trainer(data, tmp_path / "a", learn_scales=learn, epochs=1.0)
    assert again.run(resume=True)
    whole = trainer(data, tmp_path / "b", learn_scales=learn, epochs=1.0)
    assert whole.run()
    assert artifact(again, tmp_path / "a.onnx") == artifact(whole, tmp_path / "b.onnx")


def test_resuming_needs_the_same_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training to resume"):
        trainer(data, tmp_path).run(resume=True)
    trainer(data, tmp_path).run(stop_after=1)
    with pytest.raises(InputError, match="resume with the same data"):
        trainer(data, tmp_path, epochs=3.0).run(resume=True)


def test_a_training_that_diverges_says_so(data: Path, tmp_path: Path) -> None:
    made = trainer(data, tmp_path)
    made._loss = lambda pixels, _: made.model(pixels)["logits"].sum() * float("nan")
    with pytest.raises(InputError, match="smaller learning rate"):
        made.run()


def test_two_processes_make_one_program(data: Path, tmp_path: Path) -> None:
    """Gradients and observed ranges are reduced over both; each sees its own half of a batch."""
    here = Path(__file__).parent
    run_two([sys.executable, str(here / "training_case.py"), str(data), str(tmp_path)], cwd=here)
    programs = [(tmp_path / f"rank{r}.onnx").read_bytes() for r in range(2)]
    assert programs[0] == programs[1]
    log = read_log(tmp_path / "log.csv")
    assert len(log) == COUNT // 8
