"""Bodies of the functions of a structured artifact, written by the arithmetic itself."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from intformer.artifact.emitter import Emitter, Value, name_result, short_names
from intformer.artifact.messages import encoded_function
from intformer.artifact.names import parse_function_name
from intformer.artifact.onnx_primitives import RESULT, OnnxPrimitives
from intformer.ir.graph import Node
from intformer.ir.operators import OPERATORS, evaluate
from intformer.ir.specification import Operand, Operator


def function_bytes(name: str, operands: int) -> bytes:
    """The ``FunctionProto`` of the function called ``name`` when it has ``operands`` inputs.

    Static attributes are part of the name; dynamic ones are attributes of the function. The body is
    what ``intformer.arith`` does, whatever the dtypes of the operands.

    Raises:
        ArtifactError: ``name`` is not a function of this format.
    """
    return _written(name, operands)[0]


def needed_functions(called: dict[str, int]) -> dict[str, bytes]:
    """The functions that a file needs whose nodes call those in ``called``, name -> inputs.

    The result is name -> message; functions that bodies call come before them.

    Raises:
        ArtifactError: a name is not a function of this format.
    """
    needed: dict[str, bytes] = {}
    for name, operands in called.items():
        body, inner = _written(name, operands)
        needed |= inner
        needed[name] = body
    return needed


@lru_cache(maxsize=256)
def _written(name: str, operands: int) -> tuple[bytes, dict[str, bytes]]:
    op, static = parse_function_name(name, operands)
    spec = OPERATORS[op]
    declared = function_inputs(spec, operands)
    emitter = Emitter(short_names({RESULT, *(name for name, _ in declared)}))
    inputs = [Value(emitter, n, dtype) for n, dtype in declared]
    symbols: dict[str, Any] = {key: emitter.symbol(key) for key in spec.dynamic}
    node = Node(op, tuple(x.name for x in inputs), (RESULT,), {**static, **symbols})
    name_result(emitter, evaluate(OnnxPrimitives(emitter), node, inputs), RESULT)
    names = [x.name for x in inputs]
    body = encoded_function(name, names, RESULT, spec.dynamic, emitter.nodes)
    return body, emitter.functions


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
