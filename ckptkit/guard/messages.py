"""What the guard tells a person, on stderr by default: a log on the full disk must not end training."""

from contextlib import suppress
from typing import Literal

from ckptkit.calling import command
from ckptkit.units import human


def warn(message: str) -> None:
    """Tell what a person should know."""
    _log("WARNING", message)


def inform(message: str) -> None:
    """Tell in passing."""
    _log("INFO", message)


def does_not_fit(path: str, need: int, free: int) -> str:
    """The sentence for a save that does not fit. need, free: bytes that it takes, and that are available."""
    shortage = f"the save needs {human(need)}, {human(free)} are available without deleting the last intact checkpoint"
    return f"{path}: {shortage}; what fills the disk: {command('diskreport', path)}"


def _log(level: Literal["WARNING", "INFO"], message: str) -> None:
    from loguru import logger

    with suppress(OSError):
        logger.opt(depth=2).log(level, "{}", f"ckptkit: {message}")
