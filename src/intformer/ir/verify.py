"""The verifier: types, shapes and ranges of an integer graph, proved before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from intformer.errors import VerifyError
from intformer.ir.graph import INTEGER_RANGES, Graph, Node, Shape, TensorType
from intformer.ir.interval import Interval, IntervalPrimitives, elements
from intformer.ir.operators import evaluate, specification
from intformer.ir.specification import Operand
from intformer.ir.stored import STORED_NAMES, column_blocks, computed_bytes

MAX_ELEMENTS = 2**31
"""Most elements of one value at the limits of its symbols; more is an attack or a mistake."""

MAX_RANK = 8

MAX_CHANNELS = 2**20
"""Largest last dimension of a value: a proof keeps one bound for each channel."""

MAX_BOUNDS = 2**24
"""Largest sum of the last dimensions of all values, which is what a proof has to compute."""

MOST_COMPUTED = 2**28
"""Bytes that constants computed from others may take, beside four times those of all constants."""

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


def verify(graph: Graph, *, infer: bool = False) -> Proof:
    """Prove that ``graph`` is a sound integer program.

    Checks that every type is an integer type, every value is defined once and before use, every
    operator and attribute is known, declared shapes and dtypes are the inferred ones, and, by
    interval arithmetic with the actual constants, that no operation can leave its range for any
    input the program accepts.

    Args:
        graph: what to prove; it is not changed unless ``infer``.
        infer: results need no declared type: the inferred one becomes it.

    Raises:
        VerifyError: the first rule that is broken, with the node that breaks it.
        ArtifactError: the file that holds the constants was changed meanwhile.
    """
    if graph.stage != "integer":
        raise VerifyError(f"stage is '{graph.stage}': only integer programs can be verified")
    _check_limits(graph.limits)
    xp, ranges = IntervalPrimitives(graph.limits), dict[str, tuple[int, int]]()
    values = _inputs(graph)
    bounds = _check_constants(graph)
    _check_computed(graph)
    defined, last = set(values) | set(graph.constants), _last_uses(graph)
    for index, node in enumerate(graph):
        _check_new(node, defined)
        for name in node.inputs:
            if name in graph.constants and name not in values:
                values[name] = Interval.constant(graph.constants[name])
        result = values[node.output] = _check_node(graph, xp, node, values)
        bounds = _check_bounds(bounds, result.shape)
        _check_result(graph, node, result, infer)
        _release_large(graph, node.inputs)
        for name in {*node.inputs, node.output}:  # a value costs memory until its last use
            if name not in ranges:
                ranges[name] = values[name].flat()
            if last[name] == index:
                del values[name]
    _check_outputs(graph, defined)
    for name in graph.constants.keys() - ranges.keys():
        values[name] = Interval.constant(graph.constants[name])
    ranges |= {name: value.flat() for name, value in values.items()}
    graph.check_constants()
    return Proof(ranges, frozenset(graph.constants))


def _check_new(node: Node, defined: set[str]) -> None:
    """One output, of a name that nothing else has."""
    if len(node.outputs) != 1:
        raise VerifyError(f"{node.op} at '{node.name}': has {len(node.outputs)} outputs, needs 1")
    if node.output in defined:
        raise VerifyError(f"value '{node.output}' is defined twice")
    defined.add(node.output)


def _check_bounds(before: int, shape: Shape) -> int:
    """Limit what a proof has to hold; the sum of last dimensions so far."""
    last = shape[-1] if shape and isinstance(shape[-1], int) else 1
    if last > MAX_CHANNELS or before + last > MAX_BOUNDS:
        raise VerifyError(
            f"a last dimension of {last}, {before + last} in all: "
            f"at most {MAX_CHANNELS} and {MAX_BOUNDS} are allowed"
        )
    return before + last


def _last_uses(graph: Graph) -> dict[str, int]:
    """Value -> index of the last node that reads it, or of the one that makes it."""
    found: dict[str, int] = {}
    for index, node in enumerate(graph):
        found |= dict.fromkeys((*node.inputs, *node.outputs), index)
    return found


def _check_limits(limits: dict[str, int]) -> None:
    for symbol, limit in limits.items():
        if type(limit) is not int or limit < 1:
            raise VerifyError(f"dimension {symbol}: limit {limit!r} must be a positive integer")


def _check_constants(graph: Graph) -> int:
    """Check types; ranges are taken where constants are read. The sum of last dimensions."""
    bounds = 0
    for name, array in graph.constants.items():
        if str(array.dtype) not in INTEGER_RANGES:
            raise VerifyError(f"constant '{name}' is {array.dtype}: only integers are allowed")
        if array.size == 0:
            raise VerifyError(f"constant '{name}' is empty")
        bounds = _check_bounds(bounds, array.shape)
        _check_declared(graph, name, TensorType(str(array.dtype), tuple(array.shape)))
    return bounds


def _check_computed(graph: Graph) -> None:
    """Limit what is computed of constants: a few bytes in a file can stand for very many."""
    stored, computed = storage_bytes(graph), 0
    for node in graph:
        if node.op in STORED_NAMES and all(name in graph.constants for name in node.inputs):
            computed += computed_bytes(node, [graph.constants[n].shape for n in node.inputs])
    if computed > 4 * stored + MOST_COMPUTED:
        raise VerifyError(
            f"{computed} bytes are computed of {stored} bytes of constants: "
            f"more than four times as many and {MOST_COMPUTED}"
        )


def _inputs(graph: Graph) -> dict[str, Interval]:
    values: dict[str, Interval] = {}
    for name, kind in graph.inputs.items():
        if name in graph.constants:
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
        result = _evaluated(xp, node, _known(spec.operands, operands))
    except VerifyError as error:
        raise VerifyError(f"{where}: {error}") from None
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise VerifyError(f"{where}: operands or attributes do not fit: {error}") from None
    return result


def _check_result(graph: Graph, node: Node, result: Interval, infer: bool) -> None:
    """The type of a result is one that values may have, and the declared one."""
    inferred = TensorType(result.dtype, result.shape)
    _check_type(graph, node.output, inferred)
    if infer:
        graph.types.setdefault(node.output, inferred)
    declared = graph.types.get(node.output)
    if declared != inferred:
        where = f"{node.op} at '{node.name or node.output}'"
        raise VerifyError(f"{where}: declared as {declared}, but it computes {inferred}")


def _evaluated(xp: IntervalPrimitives, node: Node, operands: list[Interval]) -> Interval:
    """The result of ``node``; weights of 4 bits are expanded a few columns at a time."""
    if node.op != "unpack4":
        result: Interval = evaluate(xp, node, operands)
        return result
    packed, multiplier = (operand.value for operand in operands)
    assert packed is not None and multiplier is not None
    parts = [
        evaluate(xp, node, [Interval.constant(packed[block]), Interval.constant(multiplier[block])])
        for block in column_blocks(packed)
    ]
    return Interval.constant(np.concatenate([part.value for part in parts], axis=1))


def _check_operands(
    where: str, wanted: Sequence[Operand], node: Node, operands: list[Interval]
) -> None:
    wanted = _each(wanted, len(operands))
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


def _each(wanted: Sequence[Operand], count: int) -> tuple[Operand, ...]:
    """One specification per operand, of operators that take any number, too."""
    if wanted[-1].variadic:
        return (*wanted[:-1], *[wanted[-1]] * (count - len(wanted) + 1))
    return tuple(wanted)


def _known(wanted: Sequence[Operand], operands: list[Interval]) -> list[Interval]:
    """``operands`` with the values of those alone that must be constants.

    The others are known by their ranges, so that no operator is computed on constants, whose
    broadcast product may be larger than any file, but those that are made for it (``ir.stored``).
    """
    return [
        operand
        if spec.constant or operand.value is None
        else Interval(operand.dtype, operand.shape, operand.low, operand.high)
        for spec, operand in zip(_each(wanted, len(operands)), operands, strict=False)
    ]


def _check_outputs(graph: Graph, values: set[str]) -> None:
    if not graph.outputs:
        raise VerifyError("the program has no outputs")
    for public, name in graph.outputs.items():
        if name not in values:
            raise VerifyError(f"output '{public}' refers to '{name}', which nothing computes")


def storage_bytes(graph: Graph) -> int:
    """Bytes of all constants."""
    return sum(int(np.asarray(array).nbytes) for array in graph.constants.values())
