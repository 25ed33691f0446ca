"""The compiled extension: ``native``, or None where it is not installed.

Plans are the language in which Python and the extension talk. One that was compiled for another
version of it would read other meanings into the same numbers, so it is refused.
"""

from __future__ import annotations

from types import ModuleType

from intformer.errors import ExtensionError

__all__ = ["PLAN_FORMAT", "native"]

PLAN_FORMAT = 8
"""Version of the plans: raised with every change of what steps, numbers and packed constants mean.

The build reads this line and compiles the number in (CMakeLists.txt);
``tests/runtime/test_plan_format.py`` tells when to raise it.
"""

try:
    from intformer import _native as native
except ImportError:
    native = None  # type: ignore[assignment]


def check(extension: ModuleType | None) -> None:
    """Refuse an extension that speaks another language than this package.

    Raises:
        ExtensionError: it was compiled for another version of the plans.
    """
    if extension is None:
        return
    own = getattr(extension, "plan_format", lambda: 0)()
    if own != PLAN_FORMAT:
        raise ExtensionError(
            f"the compiled extension {extension.__file__} reads plans of version {own}, but this "
            f"intformer writes version {PLAN_FORMAT}, so results would be wrong: rebuild it with "
            "'pip install -e .' in the checkout, or reinstall with "
            "'pip install --force-reinstall --no-deps intformer'"
        )


check(native)
