"""Skipping a test out loud, where the machine lacks what it needs; never where that is forbidden."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skips the test, or fails it where IMAGELOOM_NO_SKIP is set, as it is in CI."""
    if os.environ.get("IMAGELOOM_NO_SKIP"):
        pytest.fail(f"{reason}, and IMAGELOOM_NO_SKIP forbids to skip", pytrace=False)
    pytest.skip(reason)
