"""The verifier: types, shapes and ranges of an integer graph, proved before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from intformer.errors import VerifyError
from intformer.ir.graph import INTEGER_RANGES, Graph, Node, TensorType
from intformer.ir.interval import Interval, IntervalPrimitives, elements
from intformer.ir.operators import evaluate, specification
from intformer.ir.specification import Operand

MAX_ELEMENTS = 2**31
"""Most elements of one value at the limits of its symbols; more is an attack or a mistake."""

MAX_RANK = 8

RELEASE_BYTES = 2**17
"""Constants of this size are worth a system call."""


@dataclass(frozen=True)
class Proof:
    """The result of a successful verification.

    ``ranges`` maps each value to the interval it provably stays in; ``constants`` names those of
    them that are stored, not computed.
    """

    ranges: dict[str, tuple[int, int]]
    constants: frozenset[str] = frozenset()

    @property
    def accumulator_bits(self) -> int:
        """Bits of the widest value that is read or computed, sign included."""
        live = (range_ for name, range_ in self.ranges.items() if name not in self.constants)
        ends = (end for range_ in live for end in range_)
        return max((end if end >= 0 else ~end).bit_length() + 1 for end in ends)


def verify(graph: Graph) -> Proof:
    """Prove that ``graph`` is a sound integer program.

    Checks that every type is an integer type, every value is defined once and before use, every
    operator and attribute is known, declared shapes and dtypes are the inferred ones, and, by
    interval arithmetic with the actual constants, that no operation can leave its range for any
    input the program accepts.

    Raises:
        VerifyError: the first rule that is broken, with the node that breaks it.
        ArtifactError: the file that holds the constants was changed meanwhile.
    """
    if graph.stage != "integer":
        raise VerifyError(f"stage is '{graph.stage}': only integer programs can be verified")
    _check_limits(graph.limits)
    xp = IntervalPrimitives(graph.limits)
    values = _sources(graph)
    for node in graph:
        if len(node.outputs) != 1:
            raise VerifyError(
                f"{node.op} at '{node.name}': has {len(node.outputs)} outputs, needs 1"
            )
        if node.output in values:
            raise VerifyError(f"value '{node.output}' is defined twice")
        values[node.output] = _check_node(graph, xp, node, values)
        _release_large(graph, node.inputs)
    _check_outputs(graph, values)
    graph.check_constants()
    ranges = {name: value.flat() for name, value in values.items()}
    return Proof(ranges, frozenset(graph.constants))


def _check_limits(limits: dict[str, int]) -> None:
    for symbol, limit in limits.items():
        if type(limit) is not int or limit < 1:
            raise VerifyError(f"dimension {symbol}: limit {limit!r} must be a positive integer")


def _sources(graph: Graph) -> dict[str, Interval]:
    values: dict[str, Interval] = {}
    for name, array in graph.constants.items():
        if str(array.dtype) not in INTEGER_RANGES:
            raise VerifyError(f"constant '{name}' is {array.dtype}: only integers are allowed")
        if array.size == 0:
            raise VerifyError(f"constant '{name}' is empty")
        values[name] = Interval.constant(array)
        _release_large(graph, (name,))
        _check_declared(graph, name, TensorType(str(array.dtype), tuple(array.shape)))
    for name, kind in graph.inputs.items():
        if name in values:
            raise VerifyError(f"value '{name}' is both an input and a constant")
        values[name] = _input_interval(graph, name, kind)
        _check_declared(graph, name, kind)
    return values


def _release_large(graph: Graph, names: Iterable[str]) -> None:
    """Give back the memory of large constants that have just been read from a file."""
    if any(graph.constants[n].nbytes >= RELEASE_BYTES for n in names if n in graph.constants):
        graph.release_constants()


def _check_declared(graph: Graph, name: str, actual: TensorType) -> None:
    declared = graph.types.get(name)
    if declared != actual:
        raise VerifyError(f"value '{name}' is declared as {declared}, but it is {actual}")


def _input_interval(graph: Graph, name: str, kind: TensorType) -> Interval:
    _check_type(graph, name, kind)
    least, most = INTEGER_RANGES[kind.dtype]
    low, high = graph.input_ranges.get(name, (least, most))
    if not least <= low <= high <= most:
        raise VerifyError(f"input '{name}': range [{low}, {high}] is not within {kind.dtype}")
    return Interval(kind.dtype, kind.shape, low, high)


def _check_type(graph: Graph, name: str, kind: TensorType) -> None:
    if kind.dtype not in INTEGER_RANGES:
        raise VerifyError(f"value '{name}' is {kind.dtype}: only integers are allowed")
    if len(kind.shape) > MAX_RANK:
        raise VerifyError(f"value '{name}' has rank {len(kind.shape)}, at most {MAX_RANK}")
    if any(isinstance(d, int) and d < 1 for d in kind.shape):
        raise VerifyError(f"value '{name}' has shape {kind.shape}: dimensions are at least 1")
    if elements(kind.shape, {**graph.limits, "N": 1}) > MAX_ELEMENTS:
        raise VerifyError(
            f"value '{name}' of shape {kind.shape} has more than 2^31 elements at batch 1"
        )


def _check_node(
    graph: Graph, xp: IntervalPrimitives, node: Node, values: dict[str, Interval]
) -> Interval:
    where = f"{node.op} at '{node.name or node.outputs[0]}'"
    spec = specification(node)
    for name in node.inputs:
        if name not in values:
            raise VerifyError(
                f"{where}: value '{name}' is used before it is defined (or in a cycle)"
            )
    operands = [values[name] for name in node.inputs]
    _check_operands(where, spec.operands, node, operands)
    try:
        spec.constraint(node.attrs, [operand.shape for operand in operands])
        result = evaluate(xp, node, operands)
    except VerifyError as error:
        raise VerifyError(f"{where}: {error}") from None
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise VerifyError(f"{where}: operands or attributes do not fit: {error}") from None
    assert isinstance(result, Interval)
    declared = graph.types.get(node.output)
    inferred = TensorType(result.dtype, result.shape)
    _check_type(graph, node.output, inferred)
    if declared != inferred:
        raise VerifyError(f"{where}: declared as {declared}, but it computes {inferred}")
    return result


def _check_operands(
    where: str, wanted: Sequence[Operand], node: Node, operands: list[Interval]
) -> None:
    if wanted[-1].variadic:
        wanted = (*wanted[:-1], *[wanted[-1]] * (len(operands) - len(wanted) + 1))
    required = sum(not operand.optional for operand in wanted)
    if not max(required, 1) <= len(operands) <= len(wanted):
        raise VerifyError(f"{where}: has {len(operands)} operands, needs {required}")
    for operand, value in zip(wanted, operands, strict=False):
        if value.dtype not in operand.dtypes:
            raise VerifyError(
                f"{where}: {operand.name} is {value.dtype}, must be {' or '.join(operand.dtypes)}"
            )
        if operand.rank is not None and len(value.shape) != operand.rank:
            raise VerifyError(
                f"{where}: {operand.name} has shape {value.shape}, must have rank {operand.rank}"
            )
        if operand.constant and value.value is None:
            raise VerifyError(f"{where}: {operand.name} must be a constant")


def _check_outputs(graph: Graph, values: dict[str, Interval]) -> None:
    if not graph.outputs:
        raise VerifyError("the program has no outputs")
    for public, name in graph.outputs.items():
        if name not in values:
            raise VerifyError(f"output '{public}' refers to '{name}', which nothing computes")


def storage_bytes(graph: Graph) -> int:
    """Bytes of all constants."""
    return sum(int(np.asarray(array).nbytes) for array in graph.constants.values())
