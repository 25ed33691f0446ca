"""Bodies of the functions of a structured artifact, written by the arithmetic itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Any

from intformer.artifact.messages import encoded_function
from intformer.artifact.names import parse_function_name
from intformer.artifact.onnx_primitives import Emitter, OnnxPrimitives, Value
from intformer.ir.graph import Node
from intformer.ir.operators import OPERATORS, evaluate
from intformer.ir.specification import Operand, Operator

RESULT = "result"


@lru_cache(maxsize=256)
def function_bytes(name: str, operands: int) -> bytes:
    """The ``FunctionProto`` of the function called ``name`` when it has ``operands`` inputs.

    Static attributes are part of the name; dynamic ones are attributes of the function. The body is
    what ``intformer.arith`` does, whatever the dtypes of the operands.

    Raises:
        ArtifactError: ``name`` is not a function of this format.
    """
    op, static = parse_function_name(name, operands)
    spec = OPERATORS[op]
    emitter = Emitter(numbered())
    inputs = [Value(emitter, n, dtype) for n, dtype in function_inputs(spec, operands)]
    symbols: dict[str, Any] = {key: emitter.symbol(key) for key in spec.dynamic}
    node = Node(op, tuple(x.name for x in inputs), (RESULT,), {**static, **symbols})
    result = evaluate(OnnxPrimitives(emitter), node, inputs)
    name_result(emitter, result, RESULT)
    names = [x.name for x in inputs]
    return encoded_function(name, names, RESULT, spec.dynamic, emitter.nodes)


def numbered(prefix: str = "") -> Callable[[str], str]:
    """Names for the outputs of nodes: ``add_1``, ``mul_2`` ..."""
    numbers = count(1)
    return lambda op: f"{prefix}{op.lower()}_{next(numbers)}"


def function_inputs(spec: Operator, operands: int) -> list[tuple[str, str | None]]:
    """Names and dtypes of a function's inputs; None where the operator admits several dtypes."""
    last = spec.operands[-1]
    if not last.variadic:
        return [(operand.name, _dtype(operand)) for operand in spec.operands[:operands]]
    fixed = [(operand.name, _dtype(operand)) for operand in spec.operands[:-1]]
    extra = range(operands - len(fixed))
    return fixed + [(f"{last.name}_{index}", _dtype(last)) for index in extra]


def _dtype(operand: Operand) -> str | None:
    return operand.dtypes[0] if len(operand.dtypes) == 1 else None


def name_result(emitter: Emitter, result: Value, name: str) -> None:
    """Give the value ``result`` the name ``name``."""
    made = {output for node in emitter.nodes for output in node.outputs}
    if result.name not in made:
        result = emitter.node("Identity", [result], result.dtype)
    for node in emitter.nodes:
        for names in (node.inputs, node.outputs):
            for index, other in enumerate(names):
                if other == result.name:
                    names[index] = name
