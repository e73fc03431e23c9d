"""What a test needs and a machine may lack."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI") == "true"


def missing(reason: str) -> NoReturn:
    """Skip the test with the reason; in CI, where nothing may be left out, fail it."""
    pytest.fail(reason) if IN_CI else pytest.skip(reason)
