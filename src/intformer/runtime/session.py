"""Sessions: run an integer program with the native kernels."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from intformer.errors import InputError
from intformer.extension import native
from intformer.ir.graph import Array, Graph
from intformer.ir.inputs import check_inputs
from intformer.reference import interpret
from intformer.runtime.emit import emit
from intformer.runtime.fuse import fuse
from intformer.runtime.memory import aligned_empty
from intformer.runtime.needed import only_needed_rows
from intformer.runtime.packing import Constants
from intformer.runtime.plan import Machine, Plan, make_plan
from intformer.runtime.stored import with_computed_constants

MAX_PLANS = 32
"""Specialisations that a session keeps; the least recently used one goes first."""


class Session:
    """A verified integer program, ready to run from any number of threads.

    Without the compiled extension the reference interpreter computes the same bytes, slowly.

    Args:
        graph: a verified program (integer stage).
        threads: threads that one run uses; all cores of the process if None.
    """

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        self.graph = graph
        self.threads = threads or len(os.sched_getaffinity(0))
        if native is not None:
            self._engine = native.Engine(self.threads)
            self._computed = only_needed_rows(with_computed_constants(graph))
            self._groups = fuse(self._computed)
            self._constants = Constants(graph.release_constants)
            self._programs: OrderedDict[tuple[int, ...], tuple[native.Program, Plan]] = (
                OrderedDict()
            )
            self._lock = threading.Lock()

    def run(
        self, inputs: Mapping[str, Array], out: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """Outputs by public name.

        Args:
            inputs: arrays by name.
            out: arrays that outputs of the same name are written to: of the output's type and
                shape, in C order. One may be an input's own memory if nothing but an
                ``append_rows`` that makes this output reads the input.

        Raises:
            InputError: an input is missing, unknown, of the wrong shape or kind, or out of range;
                or INTFORMER_ISA names a level that this CPU does not have.
            ArtifactError: the file that holds the constants was changed before they were packed.
        """
        if native is None:
            made = interpret(self.graph, inputs)
            for name, target in (out or {}).items():
                np.copyto(target, made[name], casting="no")
            return {**made, **(out or {})}
        program, _, arrays, outputs = self._prepare(inputs, out)
        program.run(self._engine, arrays, outputs)
        return dict(zip(self.graph.outputs, outputs, strict=True))

    def prepared(
        self, inputs: Mapping[str, Array], out: Mapping[str, Array] | None = None
    ) -> Callable[[], dict[str, Array]]:
        """A function that does what ``run`` does, with everything checked once.

        It reads C-ordered arrays of an input's own type where they lie, so their values may change
        between calls (within the input's range), and writes the same outputs each time.
        """
        if native is None:
            return lambda: self.run(inputs, out)
        program, _, arrays, outputs = self._prepare(inputs, out)
        named = dict(zip(self.graph.outputs, outputs, strict=True))

        def run() -> dict[str, Array]:
            program.run(self._engine, arrays, outputs)
            return named

        return run

    def profile(self, inputs: Mapping[str, Array]) -> list[tuple[str, int]]:
        """One run on one thread: (operation, CPU time in nanoseconds) of each step, in order."""
        program, plan, arrays, outputs = self._prepare(inputs)
        times = program.profile(self._engine, arrays, outputs)
        return [(step[0], time) for step, time in zip(plan.steps, times, strict=True)]

    def _prepare(
        self, inputs: Mapping[str, Array], out: Mapping[str, Array] | None = None
    ) -> tuple[native.Program, Plan, list[Array], list[Array]]:
        """The program for these inputs, its plan, and the arrays it reads and writes."""
        checked = check_inputs(self.graph, inputs)
        program, plan = self._program(self._sizes(checked))
        arrays = [np.ascontiguousarray(checked[name]) for name in self.graph.inputs]
        given = out or {}
        outputs = [
            _target(name, given[name], *kind) if name in given else aligned_empty(kind[1], kind[0])
            for name, kind in zip(self.graph.outputs, plan.outputs, strict=True)
        ]
        return program, plan, arrays, outputs

    def arena_bytes(self, **sizes: int) -> int:
        """Bytes of work memory that a run with these symbol sizes takes, e.g. ``N=8``."""
        if native is None:
            return 0
        program, plan = self._program(sizes)
        return int(plan.arena_bytes + self.threads * program.scratch_bytes)

    def _sizes(self, inputs: Mapping[str, Array]) -> dict[str, int]:
        return {
            dim: size
            for name, kind in self.graph.inputs.items()
            for dim, size in zip(kind.shape, inputs[name].shape, strict=True)
            if isinstance(dim, str)
        }

    def _program(self, sizes: Mapping[str, int]) -> tuple[native.Program, Plan]:
        """The specialisation for ``sizes``, planned on first use."""
        key = tuple(sizes[symbol] for symbol in sorted(sizes))
        with self._lock:
            if key not in self._programs:
                self._programs[key] = self._compile(sizes)
                if len(self._programs) > MAX_PLANS:
                    self._programs.popitem(last=False)
            self._programs.move_to_end(key)
            return self._programs[key]

    def _compile(self, sizes: Mapping[str, int]) -> tuple[native.Program, Plan]:
        machine = Machine(_level(), native.lanes(), native.splits_lanes(), self.threads)
        known = len(self._constants.arrays)
        plan = make_plan(self._computed, self._groups, sizes, self._constants, emit, machine)
        if len(self._constants.arrays) > known:
            self.graph.check_constants()
        program = native.Program(plan.steps, plan.slots, self._constants.arrays, plan.arena_bytes)
        return program, plan


def _target(name: str, array: Array, dtype: str, shape: tuple[int, ...]) -> Array:
    """An array that a caller wants an output in.

    Raises:
        InputError: the output does not fit it.
    """
    fits = array.dtype == dtype and array.shape == shape
    if not (fits and array.flags.c_contiguous and array.flags.writeable):
        raise InputError(
            f"output '{name}' is {dtype} {shape}: it goes into a writable array of that type, of "
            f"that shape and in C order, not into {array.dtype} {array.shape}"
        )
    return array


def has_native() -> bool:
    """Whether the compiled extension is there."""
    return native is not None


def _level() -> str:
    """The instruction-set level of this process.

    Raises:
        InputError: INTFORMER_ISA names an unknown level, or one above what the CPU has.
    """
    try:
        return native.level()
    except ValueError as error:
        raise InputError(str(error)) from None


def describe() -> dict[str, object]:
    """What runs programs on this machine: backend, level chosen, levels available, CPU features.

    Raises:
        InputError: INTFORMER_ISA names an unknown level, or one above what the CPU has.
    """
    cores = len(os.sched_getaffinity(0))
    if native is None:
        return {
            "backend": "reference",
            "reason": "the native extension intformer._native is not installed",
            "threads": 1,
        }
    return {
        "backend": "native",
        "level": _level(),
        "levels": native.levels(),
        "features": native.features(),
        "threads": cores,
    }
