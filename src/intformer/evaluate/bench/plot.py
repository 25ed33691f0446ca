"""Results as a bar chart."""

from __future__ import annotations

import io
from pathlib import Path

from intformer.errors import InputError
from intformer.evaluate.bench.results import Results, is_ours
from intformer.evaluate.bench.tables import configuration_text

COLOURS = {"ours": "#0b6e4f", "int8": "#d98e04", "float32": "#8d99ae"}


def write_plot(results: Results, file: Path) -> None:
    """The chart as a file; its ending says the format.

    Raises:
        InputError: matplotlib is not installed, or the format is not known.
    """
    file.write_bytes(chart(results, plot_format(file)))


def plot_format(file: Path) -> str:
    """``png``, ``svg`` or ``pdf``, from the ending of the name.

    Raises:
        InputError: another ending.
    """
    form = file.suffix.removeprefix(".")
    if form not in ("png", "svg", "pdf"):
        raise InputError(f"--plot {file.name}: name a .png, .svg or .pdf file")
    return form


def chart(results: Results, form: str) -> bytes:
    """One panel per configuration, one bar per engine, shortest time on top.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise InputError("a chart needs matplotlib: pip install matplotlib") from None
    panels = results.configurations
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 3.8), squeeze=False, layout="constrained"
    )
    for axis, configuration in zip(axes[0], panels, strict=True):
        rows = [r for r in results.rows if r.configuration == configuration and r.ms is not None]
        rows.sort(key=lambda row: -(row.ms or 0))
        bars = axis.barh(
            [row.title for row in rows],
            [row.ms_per_input for row in rows],
            color=[COLOURS["ours" if is_ours(r.engine) else r.precision] for r in rows],
        )
        axis.bar_label(bars, fmt="%.3g", padding=3)
        axis.set_title(configuration_text(configuration), fontsize=10)
        axis.set_xlabel("ms per input")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    figure.suptitle(results.source)
    made = io.BytesIO()
    figure.savefig(made, format=form, dpi=120)
    pyplot.close(figure)
    return made.getvalue()
