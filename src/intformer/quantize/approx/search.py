"""``"auto"``: the operator of each layer by what it does to the outputs of the program."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from intformer.ir.graph import Graph, Node
from intformer.program import Program
from intformer.quantize.approx.choose import Chooser, Unfit, snr_db
from intformer.quantize.approx.watch import KINDS, wanted
from intformer.quantize.lowering.context import Pixels
from intformer.quantize.lowering.lower import lower
from intformer.quantize.params import OWN, Choice, Decisions, FloatArray
from intformer.quantize.recipe import Gelu, Norm, Softmax

CANDIDATES = {
    kind: tuple(name for name in get_args(names) if not name.endswith("-published"))
    for kind, names in (("softmax", Softmax), ("gelu", Gelu), ("norm", Norm))
}
"""What is tried: every operator but those with the published defects; our own comes first."""

LEAST_GAIN_DB = 0.05
"""An operator must raise the outputs' ratio by this much to be taken; less is chance."""

Outputs = dict[str, FloatArray]


@dataclass
class Search:
    """Tries operators layer by layer, in the order of the graph, for at most ``seconds``.

    ``raw`` are the program's inputs to measure on and ``exact`` the float outputs for them. A layer
    keeps the operator with the highest signal-to-noise ratio of the outputs, all decided layers
    before it in place, so the result is never worse than our operators alone on this data.
    """

    graph: Graph
    decisions: Decisions
    pixels: Pixels | None
    chooser: Chooser
    raw: dict[str, Any]
    exact: Outputs
    seconds: float
    progress: Callable[[str, int, int], None]
    clock: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Enter the choices; layers beyond the time keep ours, with the reason."""
        nodes = [n for n in self.graph if self._is_open(n)]
        if not nodes:
            return
        end, best = self.clock() + self.seconds, self._score()
        for index, node in enumerate(nodes):
            self.progress("choosing operators", index, len(nodes))
            if self.clock() > end:
                self._keep(nodes[index:])
                break
            best = self._settle(node, best, end)
        self.progress("choosing operators", len(nodes), len(nodes))

    def _is_open(self, node: Node) -> bool:
        return (
            node.output in self.chooser.watch.nodes and wanted(self.chooser.recipe, node) == "auto"
        )

    def _settle(self, node: Node, best: float, end: float) -> float:
        """Choose for one layer, of what could be tried until ``end``; return the ratio reached."""
        kind = KINDS[node.op]
        kept = Choice(kind, OWN[kind])
        for choice in self._candidates(node):
            if self.clock() > end:
                break
            self.decisions.operators[node.output] = choice
            score = self._score()
            if score > best + LEAST_GAIN_DB:
                best, kept = score, choice
        self.decisions.operators[node.output] = kept
        return best

    def _candidates(self, node: Node) -> list[Choice]:
        kind, found = KINDS[node.op], []
        for name in CANDIDATES[kind]:
            if name != OWN[kind]:
                try:
                    found.append(self.chooser.measured(node, name))
                except Unfit:
                    continue
        return found

    def _keep(self, nodes: Sequence[Node]) -> None:
        reason = f"not measured within {self.seconds:g} s"
        for node in nodes:
            kind = KINDS[node.op]
            choice = Choice(kind, OWN[kind], asked="auto", reason=reason)
            self.decisions.operators[node.output] = choice

    def _score(self) -> float:
        """Signal-to-noise ratio over all outputs of the program as decided so far."""
        lowered = lower(self.graph, dataclasses.replace(self.decisions), pixels=self.pixels)
        program = Program(lowered.graph)
        found = program.run(self.raw)
        ratios = [
            snr_db(exact, _real(program, name, found[name])) for name, exact in self.exact.items()
        ]
        return float(np.mean(ratios))


def _real(program: Program, name: str, integers: Any) -> FloatArray:
    affine = program.scales[name]
    return np.asarray((integers.astype(np.float64) - affine["zero_point"]) * affine["scale"])
