"""``intformer train`` from the command line, on a small vision transformer with random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_case import write_pictures
from two_processes import run_two

from intformer.models.vit import VisionTransformer, ViTConfig
from intformer.program import load
from intformer.quantize.qat import convert, load_twin
from intformer.train.log import read_log

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from cli_runner import Outcome, intformer

COMMON = ("--batch-size", 8, "--samples", 16, "--lr", 0.001)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with one model and labelled pictures."""
    folder = tmp_path_factory.mktemp("command")
    config = ViTConfig(
        image_size=16,
        stem_channels=(8, 8),
        stem_strides=(2, 2),
        dim=16,
        depth=1,
        num_heads=2,
        classes=("red", "green", "blue"),
    )
    (folder / "zoo" / "tiny").mkdir(parents=True)
    torch.manual_seed(0)
    model = VisionTransformer(config)
    save_file(model.state_dict(), folder / "zoo" / "tiny" / "model.safetensors")
    config.save(folder / "zoo" / "tiny" / "config.json")
    write_pictures(folder / "pictures")
    return folder


@pytest.fixture(autouse=True)
def zoo(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTFORMER_ZOO", str(folder / "zoo"))


def train(folder: Path, out: Path, *options: object) -> Outcome:
    data = folder / "pictures"
    return intformer("train", "zoo:tiny", "--data", data, "-o", out, *COMMON, *options)


def test_a_training_leaves_program_twin_log_and_report(folder: Path, tmp_path: Path) -> None:
    done = train(
        folder, tmp_path / "a.onnx", "--val", folder / "pictures", "--learn-scales",
        "--ema", 0.5, "--rand-augment", "rand-m5", "--mixup", 0.2, "--json",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert done.json["steps"] == 6
    program = load(tmp_path / "a.onnx")
    work = tmp_path / "a.train"
    twin = convert(load_twin(work / "trained.safetensors"))
    assert {k: v.tobytes() for k, v in twin.graph.constants.items()} == {
        k: v.tobytes() for k, v in program.graph.constants.items()
    }
    page = (work / "report.html").read_text()
    assert page.count("<polyline") == 4 and "http" not in page.replace("http://www.w3.org", "")
    measured = intformer("eval", tmp_path / "a.onnx", "--data", folder / "pictures", "--json")
    assert measured.json["top1"] == pytest.approx(done.json["top1"])


def test_stopped_and_resumed(folder: Path, tmp_path: Path) -> None:
    whole = train(folder, tmp_path / "a.onnx")
    assert whole.status == 0, whole.stderr
    stopped = train(folder, tmp_path / "b.onnx", "--stop-after", 2)
    assert stopped.status == 130
    assert "--resume" in stopped.stderr and not (tmp_path / "b.onnx").exists()
    resumed = train(folder, tmp_path / "b.onnx", "--resume")
    assert resumed.status == 0, resumed.stderr
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_resuming_with_other_options_is_refused(folder: Path, tmp_path: Path) -> None:
    assert train(folder, tmp_path / "b.onnx", "--stop-after", 2).status == 130
    other = train(folder, tmp_path / "b.onnx", "--resume", "--lr", 0.002)
    assert other.status == 2 and "--lr 0.002" in other.stderr and "has 0.001" in other.stderr
    usual = train(folder, tmp_path / "b.onnx", "--resume", "--batch-size", 128)
    assert usual.status == 2 and "--batch-size 128" in usual.stderr and "has 8" in usual.stderr
    assert train(folder, tmp_path / "b.onnx", "--resume").status == 0


def test_a_mistyped_command_loses_nothing(folder: Path, tmp_path: Path) -> None:
    """What resuming needs is overwritten by nothing that cannot train."""
    assert train(folder, tmp_path / "b.onnx", "--stop-after", 2).status == 130
    options = (tmp_path / "b.train" / "options.json").read_bytes()
    for wrong in (("--data", tmp_path / "nowhere"), ("--recipe", "nonsense")):
        assert train(folder, tmp_path / "b.onnx", "--lr", 0.5, *wrong).status == 2
    assert (tmp_path / "b.train" / "options.json").read_bytes() == options
    assert train(folder, tmp_path / "c.onnx", "--recipe", "nonsense").status == 2
    assert not (tmp_path / "c.train").exists()


def test_output_is_checked_before_the_training(folder: Path, tmp_path: Path) -> None:
    done = train(folder, tmp_path)
    assert done.status == 2 and "is a folder" in done.stderr and "training" not in done.stderr


def test_float_training_writes_weights_of_the_model(folder: Path, tmp_path: Path) -> None:
    done = train(
        folder, tmp_path / "w.safetensors", "--float", "--epochs", 3, "--val", folder / "pictures"
    )
    assert done.status == 0, done.stderr
    before = load_file(folder / "zoo" / "tiny" / "model.safetensors")
    after = load_file(tmp_path / "w.safetensors")
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    assert any((after[k] != before[k]).any() for k in before)


@pytest.mark.parametrize("options", [(), ("--learn-scales", "--ema", 0.9)])
def test_torchrun(options: tuple[object, ...], folder: Path, tmp_path: Path) -> None:
    """The command in two processes, each with its half of a batch, twice: the same bytes."""
    train_in_two(folder, tmp_path, "a.onnx", *options)
    train_in_two(folder, tmp_path, "b.onnx", *options)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert load(tmp_path / "a.onnx").graph.outputs


def test_torchrun_stops_and_goes_on(folder: Path, tmp_path: Path) -> None:
    """Both processes leave after a step and go on together: the bytes of an unbroken training."""
    options = ("--mixup", 0.5, "--ema", 0.9)
    train_in_two(folder, tmp_path, "a.onnx", *options)
    train_in_two(folder, tmp_path, "b.onnx", *options, "--stop-after", 1, status=130)
    assert not (tmp_path / "b.onnx").exists()
    train_in_two(folder, tmp_path, "b.onnx", *options, "--resume")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def train_in_two(folder: Path, cwd: Path, out: str, *options: object, status: int = 0) -> None:
    command = [sys.executable, "-m", "intformer.cli.main", "train", "zoo:tiny", "--data"]
    command += [str(o) for o in (folder / "pictures", *COMMON, *options, "-o", out)]
    run_two(command, cwd, status, INTFORMER_ZOO=str(folder / "zoo"))


def test_tensorboard_gets_what_the_log_has(folder: Path, tmp_path: Path) -> None:
    """Every line once, in a training that stopped between them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ("--tensorboard", "--epochs", 2)
    assert train(folder, tmp_path / "a.onnx", *options, "--stop-after", 7).status == 130
    assert train(folder, tmp_path / "a.onnx", *options, "--resume").status == 0
    work = tmp_path / "a.train"
    found = EventAccumulator(str(work / "tensorboard"))
    found.Reload()
    log = read_log(work / "log.csv")
    assert [row["step"] for row in log] == [6, 10, 12]
    for name in ("loss", "learning_rate", "gradient_norm"):
        seen = [(event.step, event.value) for event in found.Scalars(name)]
        assert seen == [(row["step"], pytest.approx(row[name], rel=1e-5)) for row in log]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--crop", "square"), "auto, pad, resized, none"),
        (("--lr", -1), "--lr -1"),
        (("--resume",), "no options of a training"),
        (("--recipe", "nonsense"), "unknown recipe"),
    ],
)
def test_errors_are_one_line(
    options: tuple[object, ...], message: str, folder: Path, tmp_path: Path
) -> None:
    done = train(folder, tmp_path / "x.onnx", *options)
    assert done.status == 2 and message in done.stderr


def test_unlabelled_images_cannot_train(folder: Path, tmp_path: Path) -> None:
    done = intformer("train", "zoo:tiny", "--data", folder / "pictures" / "r", "-o", tmp_path / "x")
    assert done.status == 2 and "labels" in done.stderr
