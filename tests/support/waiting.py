"""Other processes take their time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None]) -> T:
    """Given a function, return what it returns as soon as that is true; fail after ten seconds."""
    for _ in range(200):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")
