"""Compile a flat program with TVM and compare what it computes: FILE.onnx RUN.npz.

``RUN.npz`` has arrays named ``in:NAME`` and ``out:NAME``. Needs apache-tvm, onnx and NumPy, and
nothing of intformer, so that any Python may run it. Exits with 1 if an output differs.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx


def compiled(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> relax.VirtualMachine:
    """The program for these sizes of inputs, built with LLVM for this machine."""
    shapes = {name: list(array.shape) for name, array in inputs.items()}
    dtypes = {name: str(array.dtype) for name, array in inputs.items()}
    module = from_onnx(model, shape_dict=shapes, dtype_dict=dtypes, keep_params_in_input=False)
    built = tvm.compile(relax.transform.LegalizeOps()(module), target=tvm.target.Target("llvm"))
    return relax.VirtualMachine(built, tvm.cpu())


def main() -> int:
    """Command line entry point."""
    file, run = sys.argv[1:]
    model, arrays = onnx.load(file), dict(np.load(run))
    order = [value.name for value in model.graph.input]
    inputs = {name: arrays[f"in:{name}"] for name in order}
    machine = compiled(model, inputs)
    found = machine["main"](*(tvm.runtime.tensor(array) for array in inputs.values()))
    results = [found] if hasattr(found, "numpy") else list(found)
    for value, result in zip(model.graph.output, results, strict=True):
        wanted = arrays[f"out:{value.name}"]
        same = result.numpy().dtype == wanted.dtype and np.array_equal(result.numpy(), wanted)
        print(f"tvm {tvm.__version__}: {value.name} {'identical' if same else 'differs'}")
        if not same:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
