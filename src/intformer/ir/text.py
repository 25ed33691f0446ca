"""A graph as text: one line per node, for people and for diffs."""

from __future__ import annotations

from collections.abc import Iterator

from intformer.ir.graph import Array, Graph, Node


def dump(graph: Graph) -> str:
    """Print a graph of either stage.

    One line per input, node and output; a node reads
    ``output: type = op(inputs) {attributes}  # module path``. Constants appear as
    ``name: type`` lines where they are first used, with their range of values.
    """
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    limits = ", ".join(f"{symbol} <= {limit}" for symbol, limit in graph.limits.items())
    yield f"graph {graph.stage}" + (f" ({limits})" if limits else "")
    for name, type_ in graph.inputs.items():
        low_high = graph.input_ranges.get(name)
        yield f"  input {name}: {type_}" + (f" in {list(low_high)}" if low_high else "")
    seen: set[str] = set()
    for node in graph.nodes:
        for name in node.inputs:
            if name in graph.constants and name not in seen:
                seen.add(name)
                yield f"  const {name}: {graph.types[name]} {_extent(graph.constants[name])}"
        yield "  " + _node(graph, node)
    for public, name in graph.outputs.items():
        yield f"  output {public} = {name}"


def _node(graph: Graph, node: Node) -> str:
    outputs = ", ".join(f"{name}: {graph.types[name]}" for name in node.outputs)
    attrs = ", ".join(f"{k}={_number(v)}" for k, v in node.attrs.items())
    text = f"{outputs} = {node.op}({', '.join(node.inputs)})"
    return text + (f" {{{attrs}}}" if attrs else "") + (f"  # {node.name}" if node.name else "")


def _number(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else repr(value)


def _extent(array: Array) -> str:
    if array.size == 0:
        return "empty"
    low, high = array.min().item(), array.max().item()
    return f"= {_number(low)}" if low == high else f"in [{_number(low)}, {_number(high)}]"
