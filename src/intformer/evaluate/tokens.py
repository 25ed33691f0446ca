"""Sentences to token ids and masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from intformer.errors import InputError
from intformer.evaluate.tokenizer_text import pack, unpack
from intformer.ir.graph import Graph, TensorType

Ids = NDArray[np.int64]

METADATA_KEY = "tokenizer"
"""Under this key a program keeps the tokenizer it was made for: tokenizer.json, packed."""

DEFAULT_LENGTH = 128
"""Longest sequence of a tokenizer that states none."""


class Tokenization:
    """A tokenizer with truncation to ``max_length`` and padding to the longest of a batch."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self._tokenizer, self.max_length = tokenizer, max_length
        tokenizer.enable_truncation(max_length)
        tokenizer.enable_padding()

    @classmethod
    def of_source(cls, preprocess: Any, limit: int | None = None) -> Tokenization:
        """From the ``TextPreprocess`` of a model source.

        Raises:
            InputError: the tokenizer file cannot be used.
        """
        if preprocess is None:
            raise InputError("this model comes without a tokenizer: use its Hugging Face folder")
        path = Path(preprocess.tokenizer_file)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{path}: not a usable tokenizer file ({error})") from None
        return cls(tokenizer, _shortest(preprocess.max_length, limit))

    @classmethod
    def of_program(cls, graph: Graph, file: Path | None = None) -> Tokenization:
        """From a program's metadata, or from a tokenizer.json.

        Raises:
            InputError: neither gives a usable tokenizer.
        """
        text = file.read_text(encoding="utf-8") if file else graph.metadata.get(METADATA_KEY)
        if not text:
            raise InputError(
                "this program carries no tokenizer; give one with --tokenizer tokenizer.json"
            )
        try:
            tokenizer = Tokenizer.from_str(unpack(text))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"the tokenizer cannot be used ({error})") from None
        stored = (tokenizer.truncation or {}).get("max_length", DEFAULT_LENGTH)
        return cls(tokenizer, _shortest(stored, sequence_limit(graph)))

    def to_metadata(self) -> str:
        """JSON for a program's metadata."""
        return pack(self._tokenizer.to_str())

    def encode(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        """Token ids and mask (1 keeps a token, 0 is padding), both int64 [N, S]."""
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = np.array([e.ids for e in encoded], dtype=np.int64)
        return ids, np.array([e.attention_mask for e in encoded], dtype=np.int64)


def takes_tokens(graph: Graph) -> bool:
    """Whether the inputs are token ids (and a mask) of shape [N, S]."""
    return bool(graph.inputs) and all(_is_tokens(kind) for kind in graph.inputs.values())


def sequence_limit(graph: Graph) -> int | None:
    """The longest sequence the graph takes."""
    dims = [kind.shape[1] for kind in graph.inputs.values() if len(kind.shape) == 2]
    sizes = [dim if isinstance(dim, int) else graph.limits.get(dim) for dim in dims]
    return min((size for size in sizes if size is not None), default=None)


def token_feed(graph: Graph, ids: Ids, mask: Ids) -> dict[str, NDArray[Any]]:
    """Name the arrays as ``graph`` names its inputs, in its dtypes; token types are all 0."""
    feed = {}
    for name, kind in graph.inputs.items():
        array = mask if "mask" in name else np.zeros_like(ids) if "type" in name else ids
        feed[name] = array.astype(kind.dtype)
    return feed


def text_batches(
    graph: Graph, tokenization: Tokenization, texts: Sequence[str], size: int = 32
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Input dictionaries of raw integers for calibration, ``size`` sentences each."""
    for start in range(0, len(texts), size):
        yield token_feed(graph, *tokenization.encode(texts[start : start + size]))


def _is_tokens(kind: TensorType) -> bool:
    return len(kind.shape) == 2 and kind.dtype in ("int64", "int32", "uint8", "bool")


def _shortest(length: int, limit: int | None) -> int:
    return length if limit is None else min(length, limit)
