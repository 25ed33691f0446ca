"""From a lowered graph to a program: readable names, no constant twice, a record of its values."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from intformer.ir.graph import Graph
from intformer.ir.meanings import Meaning, Meanings, record_meanings
from intformer.ir.value_names import readable_names, rename
from intformer.ir.verify import verify
from intformer.quantize.lowering import Lowered
from intformer.quantize.params import Affine, Decisions
from intformer.quantize.recipe import Recipe
from intformer.quantize.related import relate_multipliers


def finish(lowered: Lowered, recipe: Recipe, source: Graph, decisions: Decisions) -> Lowered:
    """The graph of ``lowered`` as a verified program, and its meaning with the program's names.

    Args:
        lowered: its graph is changed.
        recipe: it is recorded, as is the provenance in the metadata of ``source``.
        source: the float graph that was lowered.
        decisions: those that it was lowered with.

    Raises:
        VerifyError: the graph is not a sound program.
    """
    graph = lowered.graph
    relate_multipliers(graph)
    graph.merge_constants(keep={value for value, _ in lowered.meaning.values()})
    names = readable_names(graph)
    rename(graph, names)
    meaning = {name: (names[value], affine) for name, (value, affine) in lowered.meaning.items()}
    finished = dataclasses.replace(lowered, meaning=meaning)
    _record(finished, recipe, source)
    _record_operators(graph, source, decisions)
    verify(graph)
    return finished


def _record(lowered: Lowered, recipe: Recipe, source: Graph) -> None:
    """Write recipe, provenance and the meaning of values into the program's metadata."""
    metadata = dict(source.metadata)
    altered = set(json.loads(metadata.pop("altered", "[]")))
    lowered.graph.metadata["recipe"] = recipe.to_json()
    lowered.graph.metadata["provenance"] = json.dumps(metadata, sort_keys=True)
    compared, equalized = {}, []
    for name, (value, affine) in lowered.meaning.items():
        if name in altered:
            equalized.append(_meaning(value, affine))
        else:
            compared[name] = _meaning(value, affine, name in lowered.channels_last)
    record_meanings(lowered.graph, Meanings(compared, equalized))


def _meaning(value: str, affine: Affine, channels_last: bool = False) -> Meaning:
    return Meaning(value, float(affine.scale), int(affine.zero_point), channels_last)


def _record_operators(program: Graph, source: Graph, decisions: Decisions) -> None:
    """Write which operators of other papers a program has, and where ours stand in for them."""
    names = {node.output: node.name or node.output for node in source}
    found = [
        {"layer": names[value], **dataclasses.asdict(choice, dict_factory=_told)}
        for value, choice in decisions.operators.items()
    ]
    if found:
        program.metadata["operators"] = json.dumps(found)


def _told(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """What is worth reading: parameters are in the program, ratios are rounded."""
    kept = {key: value for key, value in items if value not in ("", None) and key != "parameters"}
    if math.isinf(kept.get("snr_db", 0)):
        kept.pop("snr_db")
    return kept
