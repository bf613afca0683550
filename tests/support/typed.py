"""Types of the fixtures that most tests take, and of what a command said."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from transformers import Trainer

    Before = Trainer
else:
    Before = object  # of methods that stand before the Trainer's; importing that here would cost seconds

Where = str | Path | None


class Called(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document that it wrote."""
        return json.loads(self.out)


class RunOf(Protocol):
    """Makes a run of real checkpoints."""

    def __call__(self, states: dict[int, str], kind: str = "lora", at: Where = None) -> str:
        """Given {step: state}, return its path."""
        ...


class Ckptkit(Protocol):
    """Types a command; what is named goes to subprocess.run, `env` on top of the environment."""

    def __call__(self, *words: object, **options: Any) -> Called:
        """Given its words, return what it said."""
        ...


class Mount(Protocol):
    """Mounts a file system until the test ends."""

    def __call__(
        self, filesystem: str, data: str = "", megabytes: int = 12, options: Iterable[str] = (), at: Where = None
    ) -> str:
        """Return its mount point."""
        ...


class SmallDisk(Protocol):
    """Mounts a tmpfs until the test ends."""

    def __call__(self, size: int, inodes: int | None = None) -> str:
        """Given bytes, return its mount point."""
        ...


class FillTo(Protocol):
    """Fills a volume but for some bytes."""

    def __call__(self, path: str, leave: int, name: str = "ballast") -> None:
        """Write a file of that name there until `leave` bytes are available."""
        ...


Fill = Callable[[str], None]
Names = Callable[[str | Path], list[str]]
T = TypeVar("T")


def present(value: T | None) -> T:
    """Return what must be there, for the reader and the type checker."""
    assert value is not None
    return value
