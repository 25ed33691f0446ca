"""The integer program, run by intformer's own runtime."""

from __future__ import annotations

from intformer.evaluate.bench.engines.base import Engine, Run
from intformer.evaluate.bench.job import RAW, Array, Feed, Job


def _load(job: Job, threads: int) -> Run:
    from intformer.artifact import load
    from intformer.runtime.session import Session

    session = Session(load(job.program), threads)

    def run(feed: Feed) -> Array:
        return session.run(feed)[job.output]

    return run


ENGINE = Engine("intformer", "intformer", "int8", (), _load, inputs=RAW)
