"""A float ONNX model that is quantized in a second: patches, one hidden layer, mean, classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, PATCH, WIDTH, HIDDEN, CLASSES = 8, 4, 16, 32, 4


def write_float_model(path: Path, *, activation: str = "Relu") -> Path:
    """images float32 [N, 3, 8, 8] -> logits float32 [N, 4]."""
    random = np.random.default_rng(11)
    arrays = {
        "wp": random.normal(0, 0.15, (WIDTH, 3, PATCH, PATCH)),
        "bp": random.normal(0, 0.1, WIDTH),
        "w1": random.normal(0, WIDTH**-0.5, (WIDTH, HIDDEN)),
        "b1": random.normal(0, 0.1, HIDDEN),
        "w2": random.normal(0, HIDDEN**-0.5, (CLASSES, HIDDEN)),
        "b2": random.normal(0, 0.1, CLASSES),
    }
    constants = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()]
    tokens = np.array([0, WIDTH, (SIDE // PATCH) ** 2], np.int64)
    constants.append(numpy_helper.from_array(tokens, "tokens"))
    steps = [PATCH, PATCH]
    nodes = [
        helper.make_node("Conv", ["images", "wp", "bp"], ["p"], "patches", strides=steps),
        helper.make_node("Reshape", ["p", "tokens"], ["r"], "reshape"),
        helper.make_node("Transpose", ["r"], ["t"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "w1"], ["m"], "fc1"),
        helper.make_node("Add", ["m", "b1"], ["h"], "fc1_bias"),
        helper.make_node(activation, ["h"], ["g"], "act"),
        helper.make_node("ReduceMean", ["g"], ["mean"], "mean", axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "w2", "b2"], ["scores"], "head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
