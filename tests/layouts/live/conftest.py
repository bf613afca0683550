"""Only `bin/test --layouts` runs these: it says which Python has the framework, and which recipe it is for."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.layouts.live.table import HEAD, rows
from tests.layouts.live.trainings import Recipe

NAME = os.environ.get("CKPTKIT_LAYOUTS_RECIPE")
collect_ignore_glob = [] if NAME else ["test_*.py"]


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recipe]:
    """The framework, ready to train."""
    served = Recipe(os.environ["CKPTKIT_LAYOUTS_PYTHON"], str(NAME), Path(tmp_path_factory.mktemp("recipe")))
    yield served
    served.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table, to be pasted into the documentation."""
    for row in (*HEAD, *rows) if rows else ():
        terminalreporter.write_line("| " + " | ".join(row) + " |")
