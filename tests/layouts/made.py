"""What the frameworks really wrote (tests/layouts/made), copied to where a test may change it; no test by itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.typed import present

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE = Path(__file__).resolve().parent / "made"
HOUR = 3600.0


class Case(NamedTuple):
    """One recipe's output: where in it the run lies, its layout, and {checkpoint's name: whether it can be resumed}."""

    run: str
    layout: str
    checkpoints: dict[str, bool]


def _pair(first: str, second: str) -> dict[str, bool]:
    return {first: True, second: True}


TRAINER = _pair("checkpoint-2", "checkpoint-4")
OWN = _pair("checkpoint_0", "checkpoint_1")
FILES = _pair("epoch=0-step=2.ckpt", "epoch=1-step=6.ckpt")
STEPS = _pair("step-2", "step-4")
CASES = {
    **{f"fsdp{kind}": Case(".", "fsdp", TRAINER)
       for kind in ("1-sharded", "2-sharded", "2-full", "2-sharded-lora", "2-full-lora")},
    **{f"deepspeed-zero{kind}": Case(".", "deepspeed", TRAINER)
       for kind in ("0", "1", "2", "3", "3-nogather", "2-lora", "3-lora")},
    **{f"accelerate-{kind}": Case("checkpoints", "accelerate", OWN)
       for kind in ("own", "2ranks", "fsdp2", "deepspeed")},
    **{f"accelerate-{kind}": Case(".", "accelerate-step", TRAINER)
       for kind in ("step", "diffusers-lora", "diffusers-unet")},
    "accelerate-simpletuner": Case(".", "accelerate-step", {"checkpoint-2-rolling": True, "checkpoint-4": True}),
    "lightning-single": Case("lightning_logs/version_0/checkpoints", "lightning", FILES | {"last.ckpt": True}),
    "lightning-last-link": Case("checkpoints", "lightning", FILES),
    "lightning-weights-only": Case("checkpoints", "lightning", dict.fromkeys((*FILES, "last.ckpt"), False)),
    "lightning-sharded": Case("checkpoints", "lightning-sharded", _pair("epoch=1-step=6.ckpt", "last.ckpt")),
    "dcp": Case(".", "dcp", STEPS),
    "dcp-1rank": Case(".", "dcp", STEPS),
    "torchtitan": Case("checkpoint", "dcp", STEPS),
    "torchtitan-end": Case("checkpoint", "dcp", STEPS | {"step-5": False}),
    **{f"sentence-transformers{kind}": Case(".", "hf-trainer", TRAINER) for kind in ("", "-router", "-static")},
}  # fmt: skip


class Event(NamedTuple):
    """One line of an .order file: a directory made, a file opened for writing, a rename, a link, a removal."""

    kind: str
    name: str
    target: str = ""


def events(case: str) -> Iterator[Event]:
    """What one save did, in its order, names relative to where the recipe wrote."""
    for line in (MADE / f"{case}.order").read_text().splitlines():
        name, arrow, target = present(re.fullmatch(r"(.*?)(?: (->|=>) (.*))?", line)).groups()
        if arrow:
            yield Event("rename" if arrow == "->" else "link", name, target)
        elif name.endswith(" (deleted)"):
            yield Event("removal", name.removesuffix(" (deleted)"))
        else:
            yield Event("directory" if name.endswith("/") else "file", name.rstrip("/"))


def copied(case: str, to: Path) -> Path:
    """A copy of what was written, an hour old, with the times that its writer gave it; returns the run's path."""
    shutil.copytree(MADE / case, to, symlinks=True)
    aged(to)
    return to / (CASES[case].run if case in CASES else ".")


def aged(top: Path, seconds: float = HOUR) -> None:
    """Make all of it that much older, whole checkpoints in the order of their steps, their marks last."""
    now = os.stat(top).st_mtime
    paths = sorted((path for path in top.rglob("*") if not path.is_symlink()), key=_written)
    for number, path in enumerate(paths):
        os.utime(path, (now - seconds + number / 100,) * 2)


def _written(path: Path) -> tuple[int, int, str]:
    numbers = [int(number) for number in re.findall(r"(?:step[=-]|checkpoint[-_])([0-9]+)", str(path))]
    last = (
        ("trainer_state.json", ".metadata", "meta.pt", "random_states_0.pkl").index(path.name)
        if path.name in ("trainer_state.json", ".metadata", "meta.pt", "random_states_0.pkl")
        else -1
    )
    return numbers[-1] if numbers else 10**9, last, str(path)


def keys_of(table: ast.expr) -> list[str]:
    """Given a dictionary in a recipe's source, return its keys."""
    assert isinstance(table, ast.Dict)
    return [ast.literal_eval(present(key)) for key in table.keys]
