"""Programs that some tests need: missing is a skip at home and a failure in CI."""

import os
import shutil

import pytest


def need_binary(name: str) -> str:
    """Path of the program, or a skip with the reason (a failure where CI=true)."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; .ci/run must install it")
        pytest.skip(reason)
    return path
