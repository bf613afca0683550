"""Counts what was really run; counting.py adds it up over all workers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.typed import Mount

if TYPE_CHECKING:
    from tests.faults.stage import Stage


class Tally:
    """What one test ran, and what it saw go wrong: `ran` a trial, `violation` a promise that it broke."""

    def __init__(self, node: pytest.Item) -> None:
        self.node, self.violations = node, list[str]()

    def ran(self, what: str, times: int = 1) -> None:
        self.node.user_properties.append(("faults", [what, times, 0]))

    def violation(self, what: str, told: str) -> None:
        self.node.user_properties.append(("faults", [what, 0, 1]))
        self.violations.append(f"{what}: {told}")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts trials by kind; a test that saw a violation fails when it ends, with all of them told."""
    tally = Tally(request.node)
    yield tally
    assert not tally.violations, "\n".join([f"{len(tally.violations)} violations", *tally.violations[:20]])


@pytest.fixture
def staged(real: str, mount: Mount, tmp_path: Path) -> "Callable[..., Stage]":
    """staged("prune") builds that subject's run on a tmpfs of its own; product: what to put on PYTHONPATH instead."""
    from tests.faults.stage import CHECKOUT, Stage
    from tests.faults.subjects import SUBJECTS

    return lambda name, product=str(CHECKOUT): Stage(SUBJECTS[name], real, mount("tmpfs"), tmp_path, product)


@pytest.fixture(scope="session")
def exhaustive() -> bool:
    """All trials, as `bin/test --exhaustive` asks, or a sample of them that takes minutes in all."""
    return os.environ.get("CKPTKIT_EXHAUSTIVE") == "1"
