"""One self-contained HTML page about a program: pictures, results, layers, sizes, ranges."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from intformer import __version__
from intformer.evaluate.curves import Curve
from intformer.evaluate.summary import Range, Summary, exact_bits
from intformer.ir.graph import Graph
from intformer.ir.verify import Proof

if TYPE_CHECKING:
    from intformer.evaluate.framing import Pixels

GOOD_DB, POOR_DB, FULL_DB = 25.0, 15.0, 60.0
"""Signal-to-noise ratios: fine above the first, a worry below the second, end of the scale."""

WORD_BITS = {"int16": 16, "int32": 32}
LONGEST_WORD = 32

COLOURS = ("#2f6f8f", "#d98e2b", "#7a5195", "#3d9970", "#c2504c", "#8a8f98", "#b5a642", "#444b59")


@dataclass(frozen=True)
class Picture:
    """A classified picture; ``truth`` is None where the data has no labels."""

    pixels: Pixels
    integer: str
    float: str
    truth: str | None = None

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class Layer:
    """A layer's signal-to-noise ratio between float and integers."""

    name: str
    op: str
    snr_db: float

    @property
    def level(self) -> str:
        """``good``, ``fair`` or ``poor``."""
        return "good" if self.snr_db >= GOOD_DB else "fair" if self.snr_db >= POOR_DB else "poor"

    @property
    def percent(self) -> float:
        """Length of the bar."""
        return max(1.0, min(100.0, 100 * self.snr_db / FULL_DB))


@dataclass(frozen=True)
class ValueRange:
    """What one value is proved to stay in, and what it really took."""

    name: str
    dtype: str
    proved: Range
    used: Range

    @property
    def width(self) -> int:
        """Bits of the dtype."""
        return WORD_BITS[self.dtype]

    @property
    def proved_bits(self) -> float:
        """Bits of the proved range, sign included."""
        return exact_bits(self.proved)

    @property
    def used_bits(self) -> float:
        """Bits of the range that occurred, sign included."""
        return exact_bits(self.used)

    def percent(self, count: float) -> float:
        """Length of a bar that stands for ``count`` bits."""
        return min(100 * count / LONGEST_WORD, 100)

    def share(self, count: float) -> float:
        """Part of the word that ``count`` bits fill."""
        return min(100 * count / self.width, 100)


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        title, subtitle: what the program is.
        tiles: the figures to read first: (value, what it is).
        results: rows of (what, float model, integer program).
        gallery: classified pictures.
        layers: signal-to-noise ratios, worst first.
        ranges: see ``value_ranges``.
        curves: of a training.
        summary: the program's parts.
        facts: further names and values (machine, times, versions).
    """

    title: str
    subtitle: str
    summary: Summary
    tiles: Sequence[tuple[str, str]] = ()
    results: Sequence[tuple[str, str, str]] = ()
    gallery: Sequence[Picture] = ()
    layers: Sequence[Layer] = ()
    ranges: Sequence[ValueRange] = ()
    curves: Sequence[Curve] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def sizes(self) -> list[dict[str, Any]]:
        """Bytes by tensor class, with the share and colour of each."""
        total = max(sum(self.summary.bytes_by_class.values()), 1)
        return [
            {
                "name": name,
                "bytes": count,
                "elements": self.summary.elements_by_class[name],
                "percent": 100 * count / total,
                "colour": COLOURS[index % len(COLOURS)],
            }
            for index, (name, count) in enumerate(self.summary.bytes_by_class.items())
        ]


def render(report: Report) -> str:
    """The page as text; it refers to nothing outside itself."""
    return fill("report.html.j2", report=report)


def fill(template: str, **values: Any) -> str:
    """A page from a file of ``templates``."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["grouped"] = lambda number: f"{number:,}"
    return environment.get_template(template).render(version=__version__, **values)


def write_report(report: Report, path: Path) -> None:
    """Write the page."""
    path.write_text(render(report), encoding="utf-8")


def value_ranges(
    graph: Graph, proof: Proof, used: Mapping[str, Range], count: int = 32
) -> list[ValueRange]:
    """Accumulators and 16-bit values in execution order, thinned out to ``count`` of them.

    ``used`` comes from ``summary.observed_ranges``. Shape operators, which repeat the range of
    their operand, are left out.
    """
    skipped = {"reshape", "transpose", "slice", "concat", "repeat_batch", "argmax"}
    names = [
        node.output
        for node in graph
        if node.op not in skipped and graph.types[node.output].dtype in ("int16", "int32")
    ]
    step = max(len(names) / count, 1.0)
    chosen = [names[int(i * step)] for i in range(min(count, len(names)))]
    return [
        ValueRange(name, graph.types[name].dtype, proof.ranges[name], used[name]) for name in chosen
    ]
