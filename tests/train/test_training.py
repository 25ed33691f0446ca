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
from intformer.quantize.qat import convert
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


def test_the_average_of_the_weights_is_the_result(data: Path, tmp_path: Path) -> None:
    """EMA as written down: the first step's weights, then decay times what is there."""
    made = trainer(data, tmp_path, ema=0.8)
    seen: list[dict[str, torch.Tensor]] = []
    made.progress = lambda *_: seen.append(
        {name: p.detach().clone() for name, p in made.student.named_parameters()}
    )
    assert made.run() and len(seen) == 9
    wanted = dict(seen[0])
    for weights in seen[1:]:
        wanted = {name: 0.8 * wanted[name] + 0.2 * weights[name] for name in wanted}
    found = dict(made.result.named_parameters())
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-6), name
    last = tmp_path / "last.onnx"
    convert(made.student).save(last)
    assert artifact(made, tmp_path / "average.onnx") != last.read_bytes()


@pytest.mark.parametrize(("share", "heat"), [(0.0, 1.0), (0.3, 2.0), (1.0, 4.0)])
def test_the_loss_weighs_labels_and_teacher(
    share: float, heat: float, data: Path, tmp_path: Path
) -> None:
    """(1 - w)·CE + w·T²·KL (Hinton et al., arXiv 1503.02531), in NumPy."""
    made = trainer(data, tmp_path, distill=share, temperature=heat)
    for parameter in made.student.parameters():
        parameter.data *= 1 + 0.5 * torch.rand_like(parameter)
    _, pixels, targets = next(made.images.batches())
    found = float(made._loss(pixels, targets).detach())
    student = made.model(pixels)["logits"].detach().double().numpy()
    teacher = made.teacher(pixels).double().numpy()
    soft = log_softmax(teacher / heat)
    distance = (np.exp(soft) * (soft - log_softmax(student / heat))).sum(-1).mean()
    entropy = -(targets.double().numpy() * log_softmax(student)).sum(-1).mean()
    wanted = (1 - share) * entropy + share * heat**2 * distance
    assert found == pytest.approx(wanted, rel=1e-4) and distance > 1e-4


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_the_teacher_is_followed(data: Path, tmp_path: Path) -> None:
    """Trained by the teacher alone, the student comes closer to it than by labels alone."""
    distances = []
    for share in (0.0, 1.0):
        made = trainer(data, tmp_path / str(share), distill=share, ema=0.0, mixup=0.0, cutmix=0.0)
        assert made.run()
        _, pixels, _ = next(made.images.batches())
        teacher = made.teacher(pixels).double().numpy()
        student = made.model(pixels)["logits"].detach().double().numpy()
        distances.append(np.abs(log_softmax(teacher) - log_softmax(student)).mean())
    assert distances[1] < 0.5 * distances[0]


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
