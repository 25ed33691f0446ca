"""From a float graph and decisions to an integer graph: the only place where integers are born."""

from intformer.quantize.lowering.lower import Lowered, lower

__all__ = ["Lowered", "lower"]
