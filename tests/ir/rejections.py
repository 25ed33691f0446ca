"""Sound programs, and changes to them that the verifier must refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import programs
from intformer.errors import VerifyError
from intformer.ir.graph import Graph, TensorType
from intformer.ir.verify import verify
from published_programs import published_windows

BASES = programs.single_operator_cases() | {
    "vit_like": programs.vit_like,
    "bert_like": programs.bert_like,
    "published_windows": published_windows,
}
Mutation = Callable[[Graph], None]


class Rejections(dict[str, tuple[str, Mutation, str]]):
    """Changes by name: (base program, change, message expected)."""

    def __call__(self, base: str, message: str) -> Callable[[Mutation], Mutation]:
        """Register a change to a sound program that must make it fail with ``message``."""

        def register(mutate: Mutation) -> Mutation:
            self[mutate.__name__] = (base, mutate, message)
            return mutate

        return register

    def check(self, name: str) -> None:
        """The program is sound, and is not after the change."""
        base, mutate, message = self[name]
        graph = BASES[base]()
        verify(graph)
        mutate(graph)
        with pytest.raises(VerifyError, match=message) as caught:
            verify(graph)
        assert "\n" not in str(caught.value)


def replace(graph: Graph, name: str, content: Any, dtype: str | None = None) -> None:
    """Give a constant other values, and the type that they have."""
    array = np.asarray(content, dtype or graph.constants[name].dtype)
    graph.constants[name] = array
    graph.types[name] = TensorType(str(array.dtype), array.shape)


def retype(graph: Graph, name: str, dtype: str, shape: tuple[int | str, ...]) -> None:
    """Declare a value as another type."""
    graph.types[name] = TensorType(dtype, shape)
    if name in graph.inputs:
        graph.inputs[name] = graph.types[name]
