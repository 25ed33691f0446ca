"""Run a program without intformer: plain ONNX Runtime. Usage: run_in_onnxruntime.py PROGRAM.onnx"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import onnxruntime


def main(path: str) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    scales = json.loads(metadata["scales"])  # what the integers stand for

    (wanted,) = session.get_inputs()  # raw pixels, uint8 [N, H, W, 3]
    shape = (1, *wanted.shape[1:])
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, {wanted.name: picture}), strict=True))
    for name, integers in results.items():
        digest = hashlib.sha256(np.ascontiguousarray(integers).tobytes()).hexdigest()[:16]
        print(f"{name}: {integers.dtype} {list(integers.shape)} sha256 {digest}")
        if name in scales:
            real = scales[name]["scale"] * (integers - float(scales[name]["zero_point"]))
            print(f"  real values from {real.min():.4f} to {real.max():.4f}")


if __name__ == "__main__":
    main(sys.argv[1])
