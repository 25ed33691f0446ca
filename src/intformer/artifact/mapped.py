"""Files as memory: weights are read from the file where they lie, when they are needed.

Whatever another process does to the file meanwhile, this one goes on: a page that is no longer
there reads as zeros, and ``check`` says so. Without the native extension files are read instead.
"""

from __future__ import annotations

from typing import Any

from intformer.errors import ArtifactError
from intformer.extension import native


class MappedFile:
    """The content of an open file of ``size`` bytes, which is not empty; ``name`` is for errors.

    Copies and pickles of what refers to it hold their own arrays and need no file: they get None.
    """

    def __init__(self, descriptor: int, size: int, name: str) -> None:
        self._file = native.MappedFile(descriptor, size)
        self._name = name

    @property
    def content(self) -> memoryview:
        """All bytes; views of it keep the file mapped."""
        return memoryview(self._file.content)

    def check(self) -> None:
        """Raise ``ArtifactError`` if the file was changed or cut off since it was opened."""
        if not self._file.intact:
            raise ArtifactError(
                f"the file '{self._name}' was changed while it was in use, so what was verified is "
                "gone: load it again; replace artifacts by renaming (as save does), not by writing "
                "into them"
            )

    def release(self) -> None:
        """Let the system have the memory of what was read so far."""
        self._file.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


def map_file(descriptor: int, size: int, name: str) -> MappedFile | None:
    """The mapped file, or None where it has to be read: no native extension, or no such service."""
    if native is None or size == 0:
        return None
    try:
        return MappedFile(descriptor, size, name)
    except RuntimeError:
        return None
