"""The state of one lowering: the integer graph so far and the forms already emitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intformer.errors import CaptureError, VerifyError
from intformer.ir.graph import Array, Attribute, Graph, Node, TensorType
from intformer.ir.interval import Interval, IntervalPrimitives
from intformer.ir.operators import evaluate
from intformer.quantize.dyadic import multipliers, offsets, shift_for
from intformer.quantize.groups import Form, needed_forms, share_scales
from intformer.quantize.params import Affine, Decisions, FloatArray


@dataclass(frozen=True)
class Pixels:
    """How raw pixels relate to what the float model takes: x = (pixel/255 - mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def factor(self) -> FloatArray:
        """Model input per pixel step, by channel."""
        return 1.0 / (255.0 * np.asarray(self.std, np.float64))

    @property
    def zero(self) -> FloatArray:
        """The (real) pixel value that the model sees as 0, by channel."""
        return 255.0 * np.asarray(self.mean, np.float64)


@dataclass(frozen=True)
class Accumulator:
    """int32 sums; real = scale[channel] · integer."""

    value: str
    scale: FloatArray


@dataclass
class Context:
    """Emits integer nodes and remembers which integer value stands for which float value.

    ``known`` is an earlier lowering of the same graph with other constants: its types are taken
    over instead of being inferred and proved, which makes lowering fast enough for every training
    step.
    """

    source: Graph
    decisions: Decisions
    pixels: Pixels | None
    known: Graph | None = None
    graph: Graph = field(default_factory=lambda: Graph("integer"))
    emitted: dict[tuple[str, Form], str] = field(default_factory=dict)
    accumulators: dict[str, Accumulator] = field(default_factory=dict)
    channels_last: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.producers = self.source.producers()
        self.consumers = self.source.consumers()
        self.roots = share_scales(self.source)
        self.forms = needed_forms(self.source, self.wide_linears())
        self._intervals: dict[str, Interval] = {}
        self._weights: dict[str, str] = {}

    def wide_linears(self) -> frozenset[str]:
        """Linear layers whose input has no 8-bit form decided: they multiply 16-bit input."""
        narrow = self.decisions.activations
        roots = share_scales(self.source)
        return frozenset(
            node.output
            for node in self.source
            if node.op == "linear" and roots[node.inputs[0]] not in narrow
        )

    def affine(self, value: str, form: Form) -> Affine:
        """The decided scale of ``value`` in ``form``."""
        table = self.decisions.activations if form == "narrow" else self.decisions.streams
        root = self.roots[value]
        if root not in table:
            raise CaptureError(f"no {form} scale was calibrated for value '{value}'")
        return table[root]

    def both_forms(self, value: str) -> bool:
        return len(self.forms[value]) == 2

    def only_use(self, value: str) -> bool:
        """Whether exactly one node, and no output, reads ``value``."""
        reads = len(self.consumers.get(value, []))
        return reads == 1 and value not in self.source.outputs.values()

    def constant(self, name: str, array: Array) -> str:
        """Add an integer constant and return its value name."""
        name = self.graph.add_constant(name, np.ascontiguousarray(array))
        if self.known is None:
            self._intervals[name] = Interval.constant(self.graph.constants[name])
        return name

    def weight(self, layer: Node) -> str:
        """The constant that holds a layer's integer weights, added once."""
        if layer.output not in self._weights:
            values = self.decisions.weights[layer.output].values
            self._weights[layer.output] = self.constant(layer.inputs[1], values)
        return self._weights[layer.output]

    def add_input(self, name: str, kind: TensorType, low: int, high: int) -> None:
        self.graph.inputs[name] = kind
        self.graph.types[name] = kind
        self.graph.input_ranges[name] = (low, high)
        self._intervals[name] = Interval(kind.dtype, kind.shape, low, high)

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        name: str,
        output: str,
        **attrs: Attribute,
    ) -> str:
        """Append an integer node; its type is inferred and its ranges are proved at once."""
        node = Node(op, tuple(inputs), (self.graph.fresh(output),), dict(attrs), name)
        self.graph.nodes.append(node)
        kind = self.known.types[node.output] if self.known else self._inferred(node)
        self.graph.types[node.output] = kind
        return node.output

    def _inferred(self, node: Node) -> TensorType:
        """The type of a node's result; raises if a range cannot be proved."""
        xp = IntervalPrimitives(self.graph.limits)
        operands = [self._intervals[value] for value in node.inputs]
        try:
            result: Any = evaluate(xp, node, operands)
        except VerifyError as error:
            where = node.name or node.output
            raise CaptureError(f"cannot lower {node.op} of layer '{where}': {error}") from error
        self._intervals[node.output] = result
        return TensorType(result.dtype, result.shape)

    def largest(self, dim: int | str) -> int:
        """The largest size of a dimension."""
        return dim if isinstance(dim, int) else self.graph.limits[dim]

    def shape(self, value: str) -> tuple[int | str, ...]:
        """Shape of an integer value."""
        return self.graph.types[value].shape

    def requantize(
        self,
        value: str,
        scale: FloatArray | float,
        zero: FloatArray | int,
        target: Affine,
        name: str,
        output: str,
        *,
        addend: float = 0.0,
    ) -> str:
        """Emit round((scale·(value - zero) + addend) / target.scale) + target.zero_point."""
        ratio = np.atleast_1d(np.asarray(scale, np.float64)) / target.scale
        shift = shift_for(ratio)
        extra = addend / target.scale - zero * ratio
        multiplier = self.constant(f"{output}.multiplier", multipliers(ratio, shift))
        offset = self.constant(f"{output}.offset", offsets(target.zero_point, shift, extra))
        return self.emit(
            "requantize", (value, multiplier, offset), name, output, shift=shift, dtype=target.dtype
        )

    def vector(self, value: str) -> NDArray[np.float64]:
        """A float constant of the source graph, in float64."""
        if value not in self.source.constants:
            raise CaptureError(f"value '{value}' must be a constant to be lowered")
        return self.source.constants[value].astype(np.float64)
