"""Errors that a user can act on.

Every error names what was wrong (the layer, the value, the file) and the way out; the command line
prints its text as one line and exits with a non-zero status.
"""

from __future__ import annotations


class IntformerError(Exception):
    """Base of all errors raised for bad input, as opposed to defects of intformer itself."""


class CaptureError(IntformerError):
    """A model holds an operator or a structure that cannot be turned into a graph."""


class RecipeError(IntformerError):
    """A recipe has an unknown key or an impossible value."""


class VerifyError(IntformerError):
    """An integer program breaks a rule: a type, a shape, a range or the shape of its artifact."""


class ArtifactError(VerifyError):
    """A file is not a sound intformer artifact."""


class ForeignFileError(ArtifactError):
    """A file is no program of intformer at all: an image, a float model, an empty file."""


class InputError(IntformerError):
    """Data given to a program or a command has the wrong shape, dtype, range or content."""


class ExtensionError(IntformerError):
    """The compiled extension belongs to another version of the package."""
