"""Images in a Parquet file, in the layout of Hugging Face's Image feature."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from intformer.errors import InputError
from intformer.evaluate.datasets import Sample
from intformer.evaluate.framing import decode

CHUNK = 64


class ParquetImages:
    """Column ``image`` (bytes, or a struct with a ``bytes`` field), optional column ``label``.

    Raises:
        InputError: not Parquet, no rows, no such column, or a column of another type.
    """

    classes: list[str] | None = None

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: not a readable Parquet file ({reason})") from None
        schema = self._file.schema_arrow
        _check_image_column(path, schema)
        self.labelled = _has_labels(path, schema)
        if len(self) == 0:
            raise InputError(f"{path}: the file has no rows")

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def read(self, rows: Sequence[int] | None = None) -> Iterator[Sample]:
        """Decode rows in order; row groups without a wanted row are not read."""
        wanted = None if rows is None else set(rows)
        start = 0
        for group in range(self._file.num_row_groups):
            stop = start + self._file.metadata.row_group(group).num_rows
            if wanted is None or any(row in wanted for row in range(start, stop)):
                yield from self._read_group(group, start, wanted)
            start = stop

    def random_access(self) -> Callable[[int], Sample]:
        """Holds the encoded images in memory and decodes one per call."""
        columns = ["image", "label"] if self.labelled else ["image"]
        try:
            chunks = self._file.read(columns=columns).to_batches(CHUNK)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.name}: damaged ({reason})") from None
        starts = list(accumulate((len(chunk) for chunk in chunks), initial=0))

        def sample(row: int) -> Sample:
            index = bisect_right(starts, row) - 1
            return self._sample(chunks[index], row - starts[index], row)

        return sample

    def _read_group(self, group: int, row: int, wanted: set[int] | None) -> Iterator[Sample]:
        columns = ["image", "label"] if self.labelled else ["image"]
        try:
            for chunk in self._file.iter_batches(CHUNK, row_groups=[group], columns=columns):
                for index in range(chunk.num_rows):
                    if wanted is None or row in wanted:
                        yield self._sample(chunk, index, row)
                    row += 1
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.name}: damaged near row {row} ({reason})") from None

    def _sample(self, chunk: Any, index: int, row: int) -> Sample:
        where = f"{self.name} row {row}"
        image = chunk.column("image")[index].as_py()
        data = image.get("bytes") if isinstance(image, dict) else image
        if data is None:
            raise InputError(f"{where}: the image is empty (no bytes stored)")
        return Sample(decode(data, where), self._label(chunk, index, where), where)

    def _label(self, chunk: Any, index: int, where: str) -> int | None:
        if not self.labelled:
            return None
        label = chunk.column("label")[index].as_py()
        if label is None or label < 0:
            raise InputError(f"{where}: label {label} is not a class number")
        return int(label)


def _check_image_column(path: Path, schema: Any) -> None:
    if "image" not in schema.names:
        raise InputError(f"{path}: no column 'image'; it has {', '.join(schema.names) or 'none'}")
    kind = schema.field("image").type
    if pa.types.is_struct(kind):
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        kind = fields.get("bytes", kind)
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(
            f"{path}: column 'image' is {schema.field('image').type}; it must hold the bytes of "
            "image files, or a struct {bytes, path}"
        )


def _has_labels(path: Path, schema: Any) -> bool:
    if "label" not in schema.names:
        return False
    kind = schema.field("label").type
    if not pa.types.is_integer(kind):
        raise InputError(f"{path}: column 'label' is {kind}; it must hold class numbers (integers)")
    return True
