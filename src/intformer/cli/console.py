"""What the verbs share in talking to people and machines: tables, JSON, progress, files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intformer.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 120
"""Columns of a table that no terminal limits."""

Advance = Callable[[int, int], None]
"""Called with (done, total)."""


def output() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def notice(text: str) -> None:
    """A line for people; it goes to standard error, so that standard output stays clean."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table; columns whose name begins with ``#`` hold numbers."""
    from rich.markup import escape
    from rich.table import Table

    made = Table(title=title, title_justify="left", header_style="bold", title_style="bold cyan")
    for column in columns:
        number = column.startswith("#")
        made.add_column(column.lstrip("#"), justify="right" if number else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def facts(title: str, values: Mapping[str, Any]) -> Table:
    """A two-column table of names and values."""
    made = table(title, ["", ""], values.items())
    made.show_header = False
    return made


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """A progress bar on standard error; yields what to call with (done, total)."""
    with stages() as advance:
        yield lambda done, total: advance(label, done, total)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar per stage on standard error; yields a function of (stage, done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    bars = Progress(*columns, TimeElapsedColumn(), console=console)
    tasks: dict[str, Any] = {}

    def advance(stage: str, done: int, total: int) -> None:
        if not tasks:  # bars that show nothing would print an empty line
            bars.start()
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    try:
        yield advance
    finally:
        if tasks:
            bars.stop()


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it on success and removed on failure.

    Raises:
        InputError: the folder is missing or cannot be written, or ``path`` is a folder.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Before long work: that its result can be written.

    Raises:
        InputError: as ``writing``.
    """
    _temporary(path).unlink()


def _temporary(path: Path) -> Path:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file name")
    try:
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def megabytes(size: float) -> str:
    """``size`` in bytes as text."""
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
