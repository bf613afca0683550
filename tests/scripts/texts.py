"""How people write what deletes old checkpoints: texts in spellings/, by language and by order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TEXTS = Path(__file__).resolve().parent / "spellings"


def spellings(language: str, kind: str = "*") -> Iterator[Any]:
    """(kind, name, text, whether it runs by itself) of each; files are named `language-kind[-of what].txt`."""
    for path in sorted(TEXTS.glob(f"{language}-{kind}.txt")):
        _, kind, *more = path.stem.split("-")
        for part in path.read_text().split("\n=== ")[1:]:
            name, _, text = part.partition("\n")
            yield pytest.param(kind, text, "unrun" not in more and kind not in ("other", "clean"), id=f"{kind}-{name}")


def text_of(language: str, kind: str, name: str) -> Any:
    """One of them."""
    return next(one.values[1] for one in spellings(language, kind) if one.id == f"{kind}-{name}")
