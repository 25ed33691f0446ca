"""The numbers of artifact format 2: versions, element types, metadata keys and limits."""

from __future__ import annotations

FORMAT = "2"
"""Version of the file format; function bodies are part of it (docs/artifact.md)."""

IR_VERSION = 8
OPSET = 18
DOMAIN = "intformer"
DOMAIN_VERSION = 1
PRODUCER = "intformer"

ELEMENT_TYPES: dict[str, int] = {
    "uint8": 2,
    "int8": 3,
    "int16": 5,
    "int32": 6,
    "int64": 7,
}
"""Every element type of a value: dtype -> number in ONNX. There is no float among them."""

DTYPES: dict[int, str] = {number: dtype for dtype, number in ELEMENT_TYPES.items()}

KEY_FORMAT = "intformer.format"
KEY_FORM = "intformer.form"
KEY_LIMITS = "intformer.limits"
KEY_RANGES = "intformer.input_ranges"
KEY_INPUTS = "intformer.input_names"
KEY_GOLDEN = "intformer.golden"
RESERVED = (KEY_FORMAT, KEY_FORM, KEY_LIMITS, KEY_RANGES, KEY_INPUTS)
"""Keys that the loader turns into fields of the graph; all others are the graph's own metadata."""

MAX_FILE_BYTES = 2**31 - 1
"""The limit of the protocol buffers format."""

MAX_FIELDS = 500_000
"""Most protocol buffer fields in a file, so that parsing it cannot multiply its size."""

MAX_NODES = 20_000
MAX_NAME = 1024
"""Longest name of a value, in characters."""

MAX_FUNCTION_NAME = 256
MAX_OPERANDS = 1024
MAX_WINDOWS = 4096
"""Largest kernel area of ``patches``: each position is a node of the function body."""

MAX_ALL_WINDOWS = 2**16
"""The kernel areas of all nodes together."""

MAX_STATIC = 2**31
MAX_RANK = 8
MAX_DIMENSION = 2**31
MAX_METADATA_ENTRIES = 256
MAX_METADATA_BYTES = 2**23
"""All metadata together."""


def producer_version() -> str:
    """Version of the installed package, or 0 where it runs from a bare source tree."""
    from importlib import metadata

    try:
        return metadata.version("intformer")
    except metadata.PackageNotFoundError:
        return "0"
