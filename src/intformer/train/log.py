"""What a training writes down: one CSV line per some steps, TensorBoard events if asked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from intformer.errors import InputError

FIELDS = ("step", "epoch", "loss", "learning_rate", "gradient_norm", "top1", "images_per_second")


class Log:
    """``log.csv`` in a folder; lines of steps that are done again after a resume are dropped."""

    def __init__(self, folder: Path, first_step: int, *, tensorboard: bool) -> None:
        self.path = folder / "log.csv"
        kept = [row for row in read_log(self.path) if row["step"] <= first_step]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(kept)
        self._events = _tensorboard(folder, first_step) if tensorboard else None

    def write(self, **values: Any) -> None:
        """Append a line; absent fields stay empty."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, FIELDS).writerow(values)
        if self._events is not None:
            for name in FIELDS[2:]:
                if values.get(name) is not None:
                    self._events.add_scalar(name, values[name], values["step"])
            self._events.flush()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; numbers, or None where a field is empty."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {**{k: float(v) if v else None for k, v in row.items()}, "step": int(row["step"])}
            for row in csv.DictReader(file)
        ]


def _tensorboard(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("--tensorboard needs the package: pip install tensorboard") from None
    return SummaryWriter(folder / "tensorboard", purge_step=first_step + 1)
