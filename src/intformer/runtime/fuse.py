"""Groups nodes that one kernel call executes: a linear layer with what is around it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intformer.arith import STORAGE
from intformer.ir.graph import Graph, Node, Shape


@dataclass(frozen=True)
class Group:
    """Nodes executed together; ``nodes[0]`` decides the kernel.

    Attributes:
        nodes: in execution order. After ``linear`` or ``linear16`` come, each optional, a
            ``requantize`` or an ``add``, and after a requantize to uint8 a ``table``.
        residual: the int16 value that a fused ``add`` adds.
        swapped: the accumulator is the operand ``b`` of the fused ``add``.
        windows: the ``patches`` that the linear layer alone reads; they are gathered on the way.
    """

    nodes: tuple[Node, ...]
    residual: str | None = None
    swapped: bool = False
    windows: Node | None = None

    @property
    def head(self) -> Node:
        return self.nodes[0]

    @property
    def output(self) -> str:
        return self.nodes[-1].output

    def follower(self, op: str) -> Node | None:
        """The fused node of this operator, if any."""
        return next((node for node in self.nodes[1:] if node.op == op), None)


def fuse(graph: Graph) -> list[Group]:
    """Partition the nodes of an integer graph into groups, in execution order."""
    uses = graph.consumers()
    private = {name for name, nodes in uses.items() if len(nodes) == 1} - set(
        graph.outputs.values()
    )
    made = {name: node for name, node in graph.producers().items() if name in private}
    member: dict[int, Group] = {}
    for node in graph:
        if node.op.startswith("linear"):
            sources = _windows(made, graph, node.inputs[0])
            group = _grow(graph, uses, private, node)
            group = replace(group, windows=sources[-1]) if sources else group
            member |= {id(part): group for part in (*sources, *group.nodes)}
    ordered: list[Group] = []
    for node in graph:
        group = member.get(id(node), Group((node,)))
        if node is group.nodes[-1]:
            ordered.append(group)
    return ordered


def _windows(made: dict[str, Node], graph: Graph, value: str) -> tuple[Node, ...]:
    """The ``patches`` behind a linear layer's input, after a reshape that keeps its rows if any.

    ``made`` has the nodes whose results have one reader.
    """
    node = made.get(value)
    if node is not None and node.op == "patches":
        return (node,)
    before = made.get(node.inputs[0]) if node is not None and node.op == "reshape" else None
    if node is None or before is None or before.op != "patches":
        return ()
    same_rows = graph.types[value].shape[-1] == graph.types[before.output].shape[-1]
    return (node, before) if same_rows else ()


def _grow(graph: Graph, uses: dict[str, list[Node]], private: set[str], linear: Node) -> Group:
    """The group that starts at ``linear``, as long as possible."""
    if linear.output not in private:
        return Group((linear,))
    (follower,) = uses[linear.output]
    if follower.op == "add":
        return _with_residual(graph, linear, follower)
    if follower.op != "requantize" or not _per_channel(graph, linear, follower.inputs[1:]):
        return Group((linear,))
    if graph.types[follower.output].dtype != "uint8" or follower.output not in private:
        return Group((linear, follower))
    (last,) = uses[follower.output]
    return Group((linear, follower, last) if last.op == "table" else (linear, follower))


def _with_residual(graph: Graph, linear: Node, add: Node) -> Group:
    a, b, *parameters = add.inputs
    other = b if a == linear.output else a
    kind = graph.types[other]
    fits = (
        a != b
        and add.attrs["dtype"] not in STORAGE
        and kind.dtype == "int16"
        and _repeats_within(kind.shape, graph.types[linear.output].shape)
        and _per_channel(graph, linear, tuple(parameters))
    )
    return Group((linear, add), other, b == linear.output) if fits else Group((linear,))


def _repeats_within(inner: Shape, outer: Shape) -> bool:
    """Whether ``inner``, without leading ones, is a suffix of ``outer``."""
    while inner[:1] == (1,):
        inner = inner[1:]
    return 0 < len(inner) <= len(outer) and outer[len(outer) - len(inner) :] == inner


def _per_channel(graph: Graph, linear: Node, parameters: tuple[str, ...]) -> bool:
    """Whether all parameters hold one value or one per output channel."""
    channels = graph.types[linear.inputs[1]].shape[1]
    return all(graph.constants[name].size in (1, channels) for name in parameters) and (
        graph.constants[linear.inputs[2]].size in (1, channels)
    )
