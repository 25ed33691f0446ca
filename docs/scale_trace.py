"""Draws docs/scale_trace.svg: Scale Propagation through one layer of a program.

    intformer quantize zoo:multi30k_en_de_integer --data multi30k --recipe integer-transformer \
        -o en-de.onnx
    python docs/scale_trace.py en-de.onnx [--layer encoder.layers.0] [--out docs/scale_trace.svg]

The figure shows what ``intformer inspect --scales`` prints.
"""

from __future__ import annotations

import argparse
from html import escape
from pathlib import Path

from intformer.evaluate.scale_trace import ScaleStep, requantizations, scale_trace
from intformer.program import load

COLOURS = {
    "born": "#f2d16b",
    "re-born": "#f2a65a",
    "multiplied": "#8fc1e3",
    "re-scaled": "#e07a7a",
    "matched": "#9ccc9c",
    "carried": "#dddddd",
    "computed": "#dddddd",
}
MEANINGS = {
    "re-born": "a division took the old scale away, a new one is given",
    "multiplied": "scales are multiplied, the sums are held in 32 bits",
    "re-scaled": "rounded from 32 bits to 8",
    "matched": "both sides brought to one scale, one rounding",
}
ROW, TOP, WIDTH = 44, 60, 980
BOX_LEFT, BOX_WIDTH = 300, 190


def drawing(layer: str, steps: list[ScaleStep]) -> str:
    """The figure as SVG."""
    each, own = requantizations(steps)
    bottom = TOP + ROW * len(steps)
    height = bottom + 24 * (len(MEANINGS) + 1) + 16
    title = f"{layer}: {own} requantizations instead of {each}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="14">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(WIDTH / 2, 28, title, anchor="middle", size=17),
        *stream(steps),
        *(part for index, step in enumerate(steps) for part in row(index, step, layer)),
        *legend(bottom + 16),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def row(index: int, step: ScaleStep, layer: str) -> list[str]:
    """One operator: its layer, what it reads, the box, what it writes."""
    y = TOP + ROW * index
    name = step.layer.removeprefix(layer).strip(".") or "residual sum"
    read = (" × " if step.event == "multiplied" else " and ").join(step.operands)
    return [
        f'<rect x="{BOX_LEFT}" y="{y}" width="{BOX_WIDTH}" height="{ROW - 12}" rx="5" '
        f'fill="{COLOURS[step.event]}"/>',
        text(BOX_LEFT + BOX_WIDTH / 2, y + 20, step.op.replace("_", " "), anchor="middle"),
        text(40, y + 20, name, size=13),
        text(BOX_LEFT - 12, y + 20, step.event, anchor="end", size=12, fill="#666"),
        text(BOX_LEFT + BOX_WIDTH + 14, y + 20, f"{read}  →  {step.result}"),
        text(WIDTH - 14, y + 20, step.dtype, anchor="end", fill="#666"),
    ]


def stream(steps: list[ScaleStep]) -> list[str]:
    """A line along the left edge from one reader or writer of the residual stream to the next."""
    places = [i for i, s in enumerate(steps) if s.event == "matched" or s.op.endswith("norm")]
    first, last = (TOP + ROW * place + (ROW - 12) // 2 for place in (places[0], places[-1]))
    marks = (TOP + ROW * place + (ROW - 12) // 2 for place in places)
    line = f'<path d="M20 {first} V{last}" stroke="#555" stroke-width="3" fill="none"/>'
    return [line, *(f'<circle cx="20" cy="{y}" r="6" fill="#555"/>' for y in marks)]


def legend(y: float) -> list[str]:
    """What the colours mean."""
    parts = [text(40, y + 12, "Dots: the 16-bit residual stream is read or written.", size=13)]
    for index, (event, meaning) in enumerate(MEANINGS.items(), 1):
        place = y + 24 * index
        parts += [
            f'<rect x="40" y="{place}" width="16" height="16" rx="3" fill="{COLOURS[event]}"/>',
            text(64, place + 13, f"{event}: {meaning}", size=13),
        ]
    return parts


def text(
    x: float, y: float, content: str, anchor: str = "start", size: int = 14, fill: str = "#111"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">'
        f"{escape(content)}</text>"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--layer", default="encoder.layers.0")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("scale_trace.svg"))
    args = parser.parse_args()
    steps = scale_trace(load(args.program).graph)
    chosen = [s for s in steps if s.layer == args.layer or s.layer.startswith(args.layer + ".")]
    if not chosen:
        raise SystemExit(f"{args.program} has no layer {args.layer}")
    args.out.write_text(drawing(args.layer, chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
