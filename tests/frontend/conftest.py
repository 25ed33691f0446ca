"""timm and the shared helpers for frontend tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torchvision_stand_in import torchvision_for_import


@pytest.fixture(scope="session")
def timm():
    """timm, imported with an inert torchvision where the real one is missing."""
    with torchvision_for_import():
        return pytest.importorskip("timm")
