"""Cuts the programs of decoding out of a forward program: encoder, and one step with a cache.

The forward program computes all target positions at once. Its integers and weights stay as they
are; docs/sequence.md says why the step gives the bytes of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from intformer.errors import InputError
from intformer.ir.graph import Graph, Node, TensorType

CACHED = {"causal_attention", "causal_polynomial_attention"}
"""Operators that look back; they take ``position`` as their last operand."""

POSITIONWISE = {
    *("linear", "linear16", "requantize", "add", "multiply", "table", "unpack4"),
    *("layer_norm20", "rms_norm20"),
    *("layer_norm", "rms_norm", "l1_norm", "embedding", "tied_embedding", "repeat_batch"),
}
"""Operators that compute each position from itself alone."""

MIXING = {"attention", "polynomial_attention"}
"""Operators whose operands behind the first belong to other positions: those of the source."""

TOKENS, POSITION, CAPACITY = "tokens", "position", "L"


@dataclass(frozen=True)
class StepPrograms:
    """What decoding runs.

    Attributes:
        encoder: from the source to what the decoder reads of it; None for a decoder alone.
        step: from the next tokens and the cache to logits and the cache.
        memory: step inputs that the encoder computes, in the order of its outputs.
        shared: source inputs that the step reads as they are, for example the mask.
        caches: step inputs that are outputs of the same name.
    """

    encoder: Graph | None
    step: Graph
    memory: tuple[str, ...]
    shared: tuple[str, ...]
    caches: tuple[str, ...]


def cut(forward: Graph) -> StepPrograms:
    """The programs of decoding.

    Args:
        forward: integer program with an input ``target`` of token ids [N, T], or with token ids as
            its only input, and an output ``logits``.

    Raises:
        InputError: it is no such program, or an operator mixes target positions.
    """
    target = _target(forward)
    sources = [name for name in forward.inputs if name != target]
    late, early = _reach(forward, {target}), _reach(forward, set(sources))
    crossing = _crossing(forward, late, early)
    memory = {value: f"memory.{i}" for i, value in enumerate(crossing)}
    step = _Step(forward, target, late, memory)
    return StepPrograms(
        _encoder(forward, target, memory) if sources else None,
        step.graph,
        tuple(memory.values()),
        tuple(name for name in sources if name in step.graph.inputs),
        step.caches,
    )


def _target(forward: Graph) -> str:
    if "logits" not in forward.outputs:
        raise InputError(
            f"this program has no output 'logits' (it has {', '.join(forward.outputs)}); only "
            "programs of language and translation models can be decoded"
        )
    if "target" in forward.inputs:
        return "target"
    if len(forward.inputs) == 1:
        return next(iter(forward.inputs))
    raise InputError(
        f"cannot tell which of {', '.join(forward.inputs)} holds the tokens to continue: a "
        "translation program calls it 'target', a language model has no other input"
    )


def _reach(graph: Graph, start: set[str]) -> set[str]:
    """Values that depend on one of ``start``."""
    found = set(start)
    for node in graph:
        if found.intersection(node.inputs):
            found.update(node.outputs)
    return found


def _crossing(graph: Graph, late: set[str], early: set[str]) -> list[str]:
    """Computed source values that the target side reads, in order of first use."""
    found = [
        value
        for node in graph
        if node.output in late
        for value in node.inputs
        if value in early and value not in late and value not in graph.inputs
    ]
    return list(dict.fromkeys(found))


def _encoder(forward: Graph, target: str, memory: dict[str, str]) -> Graph:
    graph = _like(forward)
    graph.inputs = {name: kind for name, kind in forward.inputs.items() if name != target}
    graph.outputs = {public: value for value, public in memory.items()}
    graph.nodes = list(forward.nodes)
    graph.prune()
    _keep_used(graph)
    graph.metadata.pop("scales", None)
    return graph


def _like(forward: Graph) -> Graph:
    return Graph(
        "integer",
        constants=dict(forward.constants),
        types=dict(forward.types),
        limits=dict(forward.limits),
        input_ranges=dict(forward.input_ranges),
        metadata=dict(forward.metadata),
        backing=forward.backing,
    )


def _keep_used(graph: Graph) -> None:
    """Drop what belongs to inputs and symbols that are not there."""
    symbols = {dim for kind in graph.inputs.values() for dim in kind.shape if isinstance(dim, str)}
    graph.limits = {name: size for name, size in graph.limits.items() if name in symbols}
    graph.input_ranges = {n: r for n, r in graph.input_ranges.items() if n in graph.inputs}


class _Step:
    """Builds the step program."""

    def __init__(self, forward: Graph, target: str, late: set[str], memory: dict[str, str]) -> None:
        self._forward, self._late = forward, late
        self._names = {target: TOKENS, **memory}
        self._written: dict[str, str] = {}
        self.graph = _like(forward)
        self.graph.types = {self._name(name): kind for name, kind in forward.types.items()}
        self._declare(target, memory)
        for node in forward:
            self._add(node)
        self.graph.outputs = {"logits": self._name(forward.outputs["logits"]), **self._written}
        self.graph.prune()
        _keep_used(self.graph)

    @property
    def caches(self) -> tuple[str, ...]:
        """Names of the caches, two for each operator that looks back."""
        return tuple(self._written)

    def _name(self, value: str) -> str:
        return self._names.get(value, value)

    def _declare(self, target: str, memory: dict[str, str]) -> None:
        """Inputs but the caches, which appear with the operators that need them."""
        forward, graph = self._forward, self.graph
        ids = forward.inputs[target]
        used = {value for node in forward if node.output in self._late for value in node.inputs}
        graph.inputs = {TOKENS: ids, POSITION: TensorType("int64", ids.shape[:1])}
        for name in (*forward.inputs, *memory):
            if name in used and name != target:
                graph.inputs[self._name(name)] = forward.types[name]
        graph.types |= graph.inputs
        graph.limits[CAPACITY] = longest = forward.limits[str(ids.shape[1])]
        graph.input_ranges[POSITION] = (0, longest)
        if target in forward.input_ranges:
            graph.input_ranges[TOKENS] = forward.input_ranges[target]

    def _add(self, node: Node) -> None:
        """A node of the forward program, told of ``position`` where it matters."""
        op, attrs = node.op, dict(node.attrs)
        inputs = tuple(self._name(value) for value in node.inputs)
        if node.output in self._late:
            if op == "positions":
                op, attrs["rows"] = "positions_at", self._forward.types[node.inputs[1]].shape[0]
                inputs = (TOKENS, inputs[1], POSITION)
                self._widen(node.output)
            elif op in CACHED:
                inputs = (inputs[0], *map(self._cached, inputs[1:3]), *inputs[3:], POSITION)
            elif op == "rotary":
                inputs = (*inputs, POSITION)
            else:
                self._check(node)
        self.graph.nodes.append(Node(op, inputs, node.outputs, attrs, node.name))

    def _widen(self, value: str) -> None:
        """Rows of a position table, one for each token of each row instead of one for all rows."""
        kind = self.graph.types[value]
        shape = (*self.graph.inputs[TOKENS].shape, kind.shape[-1])
        self.graph.types[value] = TensorType(kind.dtype, shape)

    def _cached(self, value: str) -> str:
        """Keys or values of all positions so far, from those of the new ones."""
        name = f"cache.{len(self._written)}"
        batch, _, width = self.graph.types[value].shape
        kind = TensorType(self.graph.types[value].dtype, (batch, CAPACITY, width))
        self.graph.inputs[name] = self.graph.types[name] = kind
        operands = (name, value, POSITION)
        self._written[name] = self.graph.add_node("append_rows", operands, kind, name=name)
        return self._written[name]

    def _check(self, node: Node) -> None:
        """Refuse a node that brings target positions together."""
        rank = len(self._forward.types[node.inputs[0]].shape)
        axis, shape, perm = (node.attrs.get(key) for key in ("axis", "shape", "perm"))
        apart = (
            node.op in POSITIONWISE
            or (isinstance(axis, int) and axis % rank > 1)
            or (isinstance(shape, tuple) and shape[:2] == (0, 0))
            or (isinstance(perm, tuple) and perm[:2] == (0, 1))
            or (node.op in MIXING and not self._late.intersection(node.inputs[1:]))
        )
        if not apart:
            raise InputError(
                f"{node.op} at '{node.name or node.output}' brings target positions together, so "
                "this program cannot be decoded step by step"
            )
