"""``intformer doctor``."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from intformer.cli import console
from intformer.cli.options import Json

PACKAGES = {
    "intformer": "",
    "numpy": "runs everything",
    "onnx": "reads and writes programs",
    "onnxruntime": "runs programs elsewhere; decoders of image encoders; a peer of bench",
    "openvino": "a peer of bench",
    "nncf": "quantizes for OpenVINO in bench",
    "torch": "captures and quantizes models",
    "timm": "timm:NAME sources",
    "torchvision": "what timm cannot be imported without",
    "accelerate": "intformer train",
    "transformers": "hf:FOLDER sources",
    "tokenizers": "text input",
    "sentencepiece": "text input of Marian models",
    "pyarrow": "Parquet data",
    "scikit-image": "photographs for calibration and demo",
}
DATA = (
    "cifar10/train.parquet",
    "cifar10/test.parquet",
    "photos/photos.parquet",
    "sts/stsb_dev.csv",
)


def doctor(as_json: Json = False) -> None:
    """Show what this machine offers: processor, kernels, packages, data.

    \b
    Examples:
      intformer doctor
      intformer doctor --json
    """
    found = {"machine": machine(), "runtime": _runtime(), "packages": _packages(), "data": _data()}
    if as_json:
        console.print_json(found)
        return
    out = console.output()
    out.print(console.facts("Machine", found["machine"]))
    out.print(console.facts("Runtime", {k: _text(v) for k, v in found["runtime"].items()}))
    rows = ((name, found["packages"][name] or "missing", use) for name, use in PACKAGES.items())
    out.print(console.table("Packages", ["package", "version", "what for"], rows))
    places = {name: path or "not found" for name, path in found["data"].items()}
    out.print(console.facts("Data (INTFORMER_DATA, or ../shared/data)", places))


def machine() -> dict[str, Any]:
    """System, processor, cores and Python of this machine."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _runtime() -> dict[str, Any]:
    from intformer.runtime.session import describe

    return describe()


def _packages() -> dict[str, str | None]:
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _data() -> dict[str, str | None]:
    from intformer.evaluate.data_files import find_data

    paths = {name: find_data(name) for name in DATA}
    return {name: None if path is None else str(path) for name, path in paths.items()}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
