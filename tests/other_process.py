"""Replaces the native extension by a process that runs plans: emulated, or under a sanitizer.

With ``-p other_process`` and the command of ``native/runner`` in INTFORMER_RUNNER, any test of the
runtime plans for that process and runs there. Python sees the interface of ``intformer._native``.
"""

from __future__ import annotations

import itertools
import os
import shlex
import struct
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from enum import IntEnum
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

import intformer


class Command(IntEnum):
    """The numbers are those of native/runner/main.cc."""

    DESCRIBE = 0
    PACKED_BYTES = 1
    ENGINE = 2
    LOAD = 3
    UNLOAD = 4
    RUN = 5


class Process:
    """The other process: requests are answered in any order, to any thread."""

    def __init__(self, command: list[str]) -> None:
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lock = threading.Lock()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, Future[bytes]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, command: Command, *parts: int | bytes) -> tuple[int, bytes]:
        """The ticket of a request and its answer.

        Raises:
            ValueError: the process refuses, with its message.
        """
        ticket, answer = self.send(command, *parts)
        return ticket, answer.result()

    def send(self, command: Command, *parts: int | bytes) -> tuple[int, Future[bytes]]:
        """The ticket of a request and its answer to come."""
        answer: Future[bytes] = Future()
        with self._lock:
            ticket = next(self._tickets)
            self._waiting[ticket] = answer
            assert self._child.stdin is not None
            words = (w if isinstance(w, bytes) else number(w) for w in (ticket, command, *parts))
            self._child.stdin.write(b"".join(words))
            self._child.stdin.flush()
        return ticket, answer

    def close(self) -> int:
        """End of requests; the exit status, which tells what a sanitizer has found."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        return self._child.wait()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        while head := self._child.stdout.read(24):
            ticket, failed, size = struct.unpack("<qqq", head)
            body = self._child.stdout.read(size)
            if failed:
                self._waiting.pop(ticket).set_exception(ValueError(body.decode()))
            else:
                self._waiting.pop(ticket).set_result(body)
        for answer in self._waiting.values():
            answer.set_exception(RuntimeError("the runner ended without an answer"))


def number(value: int) -> bytes:
    return struct.pack("<q", value)


def array(values: Any, dtype: str) -> bytes:
    """A count and the values."""
    raw = np.asarray(values, dtype)
    return number(raw.size) + raw.tobytes()


def arrays(values: list[np.ndarray]) -> bytes:
    return number(len(values)) + b"".join(number(v.nbytes) + v.tobytes() for v in values)


class Native(ModuleType):
    """The interface of ``intformer._native`` in front of a process.

    What does not run plans, such as mapped files, stays with the extension of this process.
    """

    def __init__(self, command: list[str]) -> None:
        super().__init__("intformer._native")
        self._here = import_module(self.__name__)
        self.process = Process(command)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_here"], name)

    def _describe(self) -> list[str]:
        return self.process.ask(Command.DESCRIBE)[1].decode().split("\n")

    def level(self) -> str:
        return self._describe()[0]

    def lanes(self) -> int:
        return int(self._describe()[1])

    def splits_lanes(self) -> bool:
        return self._describe()[2] == "1"

    def levels(self) -> list[str]:
        return self._describe()[3].split()

    def features(self) -> list[str]:
        return self._describe()[4].split()

    def attention_packed_bytes(self, keys: int, size: int, value_size: int) -> int:
        _, answer = self.process.ask(Command.PACKED_BYTES, keys, size, value_size)
        return int.from_bytes(answer, "little")

    def Engine(self, threads: int) -> int:
        return self.process.ask(Command.ENGINE, threads)[0]

    def Program(self, *parts: Any) -> Program:
        return Program(self.process, *parts)


class Program:
    """A plan that the process has loaded."""

    def __init__(
        self,
        process: Process,
        steps: list[tuple[str, list[int], list[int]]],
        slots: list[tuple[int, int, int]],
        constants: list[np.ndarray],
        arena_bytes: int,
    ) -> None:
        text = [
            array(list(name.encode()), "u1") + array(places, "<i4") + array(numbers, "<i8")
            for name, places, numbers in steps
        ]
        parts = (len(text), b"".join(text), array(np.reshape(slots, -1), "<i8"))
        self._process = process
        self._handle, answer = process.ask(Command.LOAD, *parts, arrays(constants), arena_bytes)
        self.scratch_bytes = int.from_bytes(answer, "little")

    def run(self, engine: int, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        sizes = array([output.nbytes for output in outputs], "<i8")
        _, answer = self._process.ask(Command.RUN, self._handle, engine, arrays(inputs), sizes)
        for output in outputs:
            output.reshape(-1).view(np.uint8)[:] = np.frombuffer(answer[: output.nbytes], np.uint8)
            answer = answer[output.nbytes :]
        assert not answer

    def __del__(self) -> None:
        with suppress(OSError, ValueError):  # the process may have ended
            self._process.send(Command.UNLOAD, self._handle)


def pytest_sessionfinish(session: Any) -> None:
    """A sanitizer's finding fails the session."""
    if status := native.process.close():
        session.exitstatus = status


native = Native(shlex.split(os.environ["INTFORMER_RUNNER"]))
sys.modules["intformer._native"] = native
intformer._native = native
