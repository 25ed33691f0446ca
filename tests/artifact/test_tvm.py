"""The flat form in TVM, where that is installed: here, or in the Python $INTFORMER_TVM_PYTHON.

TVM compiles a model for minutes, and its packages are best kept apart from these.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import intformer
from intformer.reference import interpret

PYTHON = os.environ.get("INTFORMER_TVM_PYTHON", "")
QUICK = {"rounding": "nearest", "bias_correction": False}


@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    not PYTHON and importlib.util.find_spec("tvm") is None,
    reason="needs apache-tvm, or a Python that has it as $INTFORMER_TVM_PYTHON",
)
@pytest.mark.parametrize("recipe", ["intformer", "i-vit"])
@pytest.mark.parametrize("name", ["vit_cifar10", "deit_cifar10", "swin_cifar10"])
def test_flat_programs_in_tvm(name, recipe, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    program = intformer.quantize(
        intformer.load_source(f"zoo:{name}"), [pixels], {"base": recipe, **QUICK}
    )
    program.save(tmp_path / "flat.onnx", flat=True)
    inputs = {"pixels": pixels[:1]}
    arrays = {f"in:{key}": array for key, array in inputs.items()}
    arrays |= {f"out:{key}": array for key, array in interpret(program.graph, inputs).items()}
    np.savez(tmp_path / "run.npz", **arrays)
    script = Path(__file__).with_name("run_in_tvm.py")
    command = [PYTHON or sys.executable, str(script), "flat.onnx", "run.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "label identical" in done.stdout and "logits identical" in done.stdout
