"""``intformer demo``."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intformer.cli import console
from intformer.cli.loading import calibration, describe, load_program, load_source
from intformer.cli.options import Json, Limit
from intformer.evaluate.origin import Origin

if TYPE_CHECKING:
    from intformer.evaluate.accuracy import Accuracy
    from intformer.evaluate.datasets import ImageData
    from intformer.evaluate.report import Layer, Report
    from intformer.frontend.sources import Source
    from intformer.ir.verify import Proof
    from intformer.program import Program

SOURCE = "zoo:vit_cifar10"
SAMPLES = 256
COMPARED = 16
"""Pictures for signal-to-noise ratios and used ranges."""


@dataclass
class Demo:
    """What the demo has found so far."""

    source: Source
    calibrated_on: str
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Measure a step."""
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 2)


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where program and report go.")
    ] = Path("out/demo"),
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Quantize a small trained ViT, prove it, classify with integers only, and write a report.

    Calibration uses CIFAR-10 where it is found (INTFORMER_DATA, or ../shared/data), else
    photographs from inside scikit-image. With CIFAR-10 the demo prints float and integer top-1,
    else how often both give the same label.

    \b
    Examples:
      intformer demo
      intformer demo --out /tmp/demo --limit 500
    """
    from intformer.evaluate.data_files import find_data
    from intformer.evaluate.datasets import PHOTOGRAPHS, open_images

    out.mkdir(parents=True, exist_ok=True)
    file = out / "vit_cifar10.onnx"
    train, test = find_data("cifar10/train.parquet"), find_data("cifar10/test.parquet")
    state = Demo(load_source(Origin(SOURCE)), str(train or PHOTOGRAPHS))
    _quantize(state, file)
    with state.timed("verify"):
        program = load_program(file)
        proof = program.verify()
    console.notice(f"proved: {len(proof.ranges)} values, integers only, none can leave its range")
    data = open_images(test) if test else _held_out_photographs()
    measured = _classify(state, program, data, limit)
    report = _report(state, program, proof, data, measured, file.stat().st_size)
    page = out / "report.html"
    _write(report, page)
    result = _result(state, measured, file, page)
    if as_json:
        console.print_json(result)
    else:
        _print(report, file, page)


def _quantize(state: Demo, file: Path) -> None:
    from intformer.quantize.api import quantize

    console.notice(f"quantizing {SOURCE} with {SAMPLES} pictures of {state.calibrated_on}")
    with state.timed("quantize"), console.stages() as progress:
        batches = calibration(state.source, state.calibrated_on, SAMPLES)
        program = quantize(state.source, batches, progress=progress)
    describe(program, state.source, Origin(SOURCE))
    with console.writing(file) as temporary:
        program.save(temporary)


def _held_out_photographs() -> ImageData:
    """Other crops than those of the calibration."""
    from intformer.evaluate.photographs import package_photos

    return package_photos(512, seed=1)


def _classify(state: Demo, program: Program, data: ImageData, limit: int | None) -> Accuracy:
    from intformer.evaluate.accuracy import accuracy

    console.notice(f"classifying {data.name} with integers, and with the float model")
    with state.timed("classify"), console.progress("classifying") as progress:
        return accuracy(program, data, source=state.source, limit=limit, progress=progress)


def _report(
    state: Demo,
    program: Program,
    proof: Proof,
    data: ImageData,
    measured: Accuracy,
    size: int,
) -> Report:
    from intformer.evaluate.report import Report, value_ranges
    from intformer.evaluate.showcase import classify_some, result_rows
    from intformer.evaluate.summary import float_bytes, observed_ranges, summarize

    console.notice("comparing layers and measuring ranges")
    with state.timed("compare"):
        summary = summarize(program.graph, proof)
        gallery, pixels = classify_some(program, state.source, data)
        (name,) = program.graph.inputs
        inputs = {name: pixels[:COMPARED]}
        layers = _layers(state.source, program, inputs)
        used = observed_ranges(program.graph, inputs)
    return Report(
        title="A vision transformer in integers",
        subtitle=f"{SOURCE}, quantized without retraining. No floating-point number exists in the "
        "program or in the code that runs it, and no value can overflow.",
        summary=summary,
        tiles=_tiles(measured, size, float_bytes(summary), proof),
        results=result_rows(measured, float_bytes(summary), size),
        gallery=gallery,
        layers=layers,
        ranges=value_ranges(program.graph, proof, used),
        facts=_facts(state, data),
    )


def _layers(source: Source, program: Program, inputs: dict[str, Any]) -> list[Layer]:
    from intformer.evaluate.report import Layer
    from intformer.quantize.compare import compare

    return [
        Layer(found.name, found.op, found.snr_db) for found in compare(source, program, [inputs])
    ]


def _tiles(measured: Accuracy, size: int, float_size: int, proof: Proof) -> list[tuple[str, str]]:
    tiles = []
    if measured.top1 is not None:
        tiles.append((f"{measured.top1:.2f} %", f"top-1 (float {measured.float_top1:.2f} %)"))
    tiles.append((f"{measured.agreement:.1f} %", "same label as the float model"))
    tiles.append((f"{size / 1e6:.2f} MB", f"{100 * size / float_size:.1f} % of float32"))
    tiles.append((f"{measured.milliseconds_per_image:.1f} ms", "per picture, integers only"))
    tiles.append((f"{len(proof.ranges)}", "values proved in range"))
    return tiles


def _facts(state: Demo, data: ImageData) -> dict[str, Any]:
    from intformer.cli.doctor import machine
    from intformer.runtime.session import describe as runtime

    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in state.seconds.items())
    kernels = runtime()
    return {
        "calibrated on": f"{SAMPLES} pictures, {Path(state.calibrated_on).name}",
        "tested on": Path(data.name).name,
        "time": steps,
        "machine": "{processor}, {cores} cores, {system}".format(**machine()),
        "kernels": f"{kernels['backend']} {kernels.get('level', '')}",
        "python": platform.python_version(),
    }


def _write(report: Report, page: Path) -> None:
    from intformer.evaluate.report import write_report

    with console.writing(page) as temporary:
        write_report(report, temporary)


def _result(state: Demo, measured: Accuracy, file: Path, page: Path) -> dict[str, Any]:
    return {
        "program": str(file),
        "report": str(page),
        "bytes": file.stat().st_size,
        "calibrated_on": state.calibrated_on,
        "seconds": state.seconds,
        **measured.to_json(),
    }


def _print(report: Report, file: Path, page: Path) -> None:
    out = console.output()
    columns = ["", "#float model", "#integer program"]
    out.print(console.table("Float and integers", columns, report.results))
    worst = ((layer.name, layer.op, f"{layer.snr_db:.1f}") for layer in report.layers[:5])
    out.print(console.table("Layers, worst first", ["layer", "operator", "#dB"], worst))
    out.print(f"program {file}\nreport  {page}", markup=False)
