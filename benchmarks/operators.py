"""The operator study: softmax, GELU and normalisation of this project and of other papers.

    python benchmarks/operators.py                # measure; write the plots and tables of the docs
    python benchmarks/operators.py --rows 50      # faster and coarser, for a look

Every number comes from the integer functions of ``intformer.arith``, with the parameters that
quantization gives them, against float64. Results are the same on every run and machine. The
accuracy of whole programs by recipe is ``python benchmarks/accuracy.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

from intformer import arith
from intformer.quantize.approx import gelu, norm, softmax
from intformer.quantize.params import Affine, Choice
from intformer.reference.primitives import NumpyPrimitives

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES = ROOT / "docs" / "operators.md", ROOT / "docs" / "images"
BEGIN, END = "<!-- {}: written by benchmarks/operators.py -->", "<!-- end -->"

SOFTMAX = ("exp2", "shiftmax", "shiftmax-published", "i-exp", "i-exp-published", "log2")
GELU = ("exact", "shiftgelu", "shiftgelu-published", "i-gelu")
NORM = ("exact", "newton", "newton-published", "power-of-two")
SPREADS, LENGTHS = (0.5, 1.0, 2.0, 4.0, 6.0), (16, 65, 197, 577, 1370)
RANGES = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
DEVIATIONS = (1, 3, 10, 30, 100, 300, 1000, 3000)
CHANNELS = 384

Table = dict[str, list[float]]
"""Operator -> its error at each setting."""


def softmax_error(operator: str, spread: float, length: int, rows: int) -> float:
    """Mean total variation to the softmax of Gaussian logits of deviation ``spread``."""
    logits = np.random.default_rng(0).normal(0, spread, (rows, length))
    choice = None
    if operator == "shiftmax-published":
        choice = Choice("softmax", operator, (float(np.abs(logits).max()) / 127,))
    elif operator != "exp2":
        choice = Choice("softmax", operator)
    found = softmax.probabilities(choice, logits, spread / 20000)
    return float(np.abs(found - softmax.true_softmax(logits)).sum(-1).mean() / 2)


def gelu_error(operator: str, reach: float) -> float:
    """Largest error over 8-bit inputs of -reach to reach."""
    source, target = Affine(2 * reach / 255, 128, "uint8"), Affine(reach / 32767, 0, "int16")
    exact = gelu.exact(source.dequantize(np.arange(256)))
    if operator == "exact":
        found = target.dequantize(target.quantize(exact))
    else:
        found = gelu.approximated(operator, source, target)
    return float(np.abs(found - exact).max())


def norm_error(operator: str, deviation: int, rows: int) -> float:
    """Largest error of normalised rows of int16 with this deviation in integer steps."""
    rng = np.random.default_rng(0)
    x = rng.normal(deviation / 3, deviation, (rows, CHANNELS)).round().clip(-32768, 32767)
    real = (x - x.mean(-1, keepdims=True)) / np.maximum(x.std(-1, keepdims=True), 1e-9)
    choice = None if operator == "exact" else Choice("norm", operator)
    if operator == "power-of-two":
        choice = Choice("norm", operator, norm.powers_of_two(np.abs(x).max(0)))
        factors, _, steps = norm.factored(choice)
        x = (np.floor(x / steps + 0.5).clip(-128, 127)) * factors
    form = norm.form(choice, "layer_norm", CHANNELS)
    attrs: dict[str, Any] = {"channels": CHANNELS, "eps": 1, "shift": 20, **form.attrs}
    gain = np.array([round(form.unit * 2**12 * 2**20)], np.int32)
    function = getattr(arith, form.op)
    found = function(
        NumpyPrimitives(), x.astype(np.int16), gain, np.array([2**19]), dtype="int32", **attrs
    )
    return float(np.abs(found / 2**12 - real).max())


def table(operators: Sequence[str], settings: Sequence[Any], error: Callable[..., float]) -> Table:
    return {name: [error(name, setting) for setting in settings] for name in operators}


def draw(name: str, panels: list[tuple[str, Sequence[float], Table]], label: str) -> None:
    """One figure with logarithmic errors, a panel per setting that is varied."""
    plt.rcParams["svg.hashsalt"] = "intformer"
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False)
    for axis, (title, settings, found) in zip(axes[0], panels, strict=True):
        for index, (operator, errors) in enumerate(found.items()):
            style = "-" if not operator.endswith("published") else "--"
            axis.plot(settings, errors, style, marker="osv^Dx"[index], markersize=4, label=operator)
        axis.set(xlabel=title, ylabel=label, yscale="log", xscale="log", xticks=settings)
        axis.set_xticks(settings, [f"{setting:g}" for setting in settings])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7)
    figure.tight_layout()
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def markdown(head: str, settings: Sequence[float], found: Table) -> str:
    lines = [
        f"| {head} | {' | '.join(f'{setting:g}' for setting in settings)} |",
        "|---" * (len(settings) + 1) + "|",
    ]
    lines += [f"| `{k}` | {' | '.join(f'{v:.2g}' for v in row)} |" for k, row in found.items()]
    return "\n".join(lines)


def write(sections: dict[str, str]) -> None:
    """Replace the marked parts of the page."""
    text = PAGE.read_text()
    for name, content in sections.items():
        begin = BEGIN.format(name)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{content}\n\n{END}{rest.partition(END)[2]}"
    PAGE.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400, help="rows that an error is measured on")
    rows = parser.parse_args().rows
    spreads = table(SOFTMAX, SPREADS, lambda name, s: softmax_error(name, s, 197, rows))
    lengths = table(SOFTMAX, LENGTHS, lambda name, n: softmax_error(name, 1.0, n, rows))
    ranges = table(GELU, RANGES, gelu_error)
    deviations = table(NORM, DEVIATIONS, lambda name, d: norm_error(name, d, rows))
    panels = [("deviation of logits, 197 keys", SPREADS, spreads)]
    panels.append(("keys, deviation 1", LENGTHS, lengths))
    draw("operators_softmax", panels, "total variation")
    draw("operators_gelu", [("largest input", RANGES, ranges)], "largest error")
    label = f"row deviation in integer steps, {CHANNELS} channels"
    draw("operators_norm", [(label, DEVIATIONS, deviations)], "largest error")
    write(
        {
            "softmax": markdown("deviation of logits", SPREADS, spreads)
            + "\n\n"
            + markdown("keys", LENGTHS, lengths),
            "gelu": markdown("largest input", RANGES, ranges),
            "norm": markdown("deviation", DEVIATIONS, deviations),
        }
    )


if __name__ == "__main__":
    main()
