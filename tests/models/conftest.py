"""Whole models run with one torch thread each."""

from __future__ import annotations

import pytest
from whole_models import one_thread

one_thread = pytest.fixture(scope="module", autouse=True)(one_thread)
