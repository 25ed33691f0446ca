"""What integer values stand for, as a program's metadata keep it for people and tools."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from intformer.errors import InputError
from intformer.ir.graph import Graph
from intformer.ir.packed_text import pack, unpack

KEY = "values"


@dataclass(frozen=True)
class Meaning:
    """One value: real = scale · (integer - zero_point).

    Attributes:
        value: its name in the integer graph.
        scale, zero_point: as above.
        channels_last: the integers are [N, H, W, C] where the float model has [N, C, H, W].
    """

    value: str
    scale: float
    zero_point: int
    channels_last: bool = False


@dataclass(frozen=True)
class Meanings:
    """What a program records.

    Attributes:
        compared: value of the float model -> the integers that stand for it.
        equalized: values that equalisation changed, which none of the float model's equals.
    """

    compared: dict[str, Meaning] = field(default_factory=dict)
    equalized: list[Meaning] = field(default_factory=list)


def record_meanings(graph: Graph, meanings: Meanings) -> None:
    """Keep ``meanings`` in the metadata of ``graph``."""
    content = {
        "compared": {name: list(asdict(each).values()) for name, each in meanings.compared.items()},
        "equalized": [list(asdict(each).values()) for each in meanings.equalized],
    }
    graph.metadata[KEY] = pack(json.dumps(content, separators=(",", ":")))


def recorded_meanings(graph: Graph) -> Meanings:
    """What ``record_meanings`` kept; nothing for a graph without.

    Raises:
        InputError: the record is damaged.
    """
    if KEY not in graph.metadata:
        return Meanings()
    try:
        content: dict[str, Any] = json.loads(unpack(graph.metadata[KEY], "record of its values"))
        compared = {name: Meaning(*entry) for name, entry in content["compared"].items()}
        return Meanings(compared, [Meaning(*entry) for entry in content["equalized"]])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError("the program's record of its values is damaged") from None
