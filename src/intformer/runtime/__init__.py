"""Runs integer programs: plans, sessions and the native CPU kernels."""

from intformer.runtime.session import Session, describe

__all__ = ["Session", "describe"]
