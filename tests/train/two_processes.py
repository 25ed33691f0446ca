"""Runs a command as ``torchrun --nproc-per-node 2`` does."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_two(command: Sequence[str], cwd: Path, status: int = 0, **environment: str) -> None:
    """Both processes, with gloo on one core each; both must end with ``status``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        **environment,
    }
    ranks = [
        subprocess.Popen(command, env={**world, "RANK": str(r), "LOCAL_RANK": str(r)}, cwd=cwd)
        for r in range(2)
    ]
    assert [rank.wait(timeout=300) for rank in ranks] == [status] * 2
