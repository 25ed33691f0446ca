"""Ways to spoil sound artifacts, registered with a part of the error that each must cause."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

from intformer import artifact
from programs import bert_like, vit_like

Mutation = Callable[[ModelProto], bytes | None]
CORRUPTIONS: dict[str, tuple[Mutation, str, str]] = {}


def corruption(message: str, base: str = "vit") -> Callable[[Mutation], Mutation]:
    """Registers a way to spoil a sound model and a part of the error it must cause."""

    def register(mutate: Mutation) -> Mutation:
        CORRUPTIONS[mutate.__name__] = (mutate, message, base)
        return mutate

    return register


@lru_cache
def sound(base: str) -> bytes:
    graph = {"vit": vit_like, "bert": bert_like}[base]()
    return artifact.to_onnx(graph).SerializeToString(deterministic=True)


def initializer(model: ModelProto, end: str) -> TensorProto:
    """The constant whose name in the program ends like that."""
    names = artifact.load_bytes(model.SerializeToString()).constants
    tensors = zip(names, model.graph.initializer, strict=True)
    return next(tensor for name, tensor in tensors if name.endswith(end))


def call(model: ModelProto, start: str) -> NodeProto:
    return next(n for n in model.graph.node if n.op_type.startswith(start))


def attribute(model: ModelProto, start: str, name: str) -> AttributeProto:
    return next(a for a in call(model, start).attribute if a.name == name)


def fill(tensor: TensorProto, value: int) -> None:
    array = numpy_helper.to_array(tensor)
    tensor.raw_data = np.full_like(array, value).tobytes()


def metadata(model: ModelProto, key: str) -> onnx.StringStringEntryProto:
    return next(entry for entry in model.metadata_props if entry.key == key)


def repeated_graph(body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return b"\x3a" + bytes([*length, size]) + body
