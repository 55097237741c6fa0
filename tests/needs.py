"""Programs that some tests need, missing is a skip at home and a failure in CI; browsers."""

import os
import shutil
from typing import Any

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


def bring_into_sight(browser: Any, element: Any) -> None:
    """Into the middle, at once: at the top it would lie under the bar, and a smooth scroll goes on
    while a click is made."""
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element
    )
