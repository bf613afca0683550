"""What is tried with FSDP and DeepSpeed on a volume of two and a half checkpoints.

By the ordinary suite with FSDP on two ranks, by `bin/test --layouts` with all.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sharded import LAST_SAVE

from ckptkit.ops.read import judge, scan
from tests.layouts.live.trainings import Recipe, Trained
from tests.support.typed import present

SCRIPT = "../../guard/sharded"  # as seen from the recipes
SHARE = 2.5  # of a checkpoint, for which the volume has room


@contextmanager
def recipe(python: str, top: Path) -> Iterator[Recipe]:
    """The process that trains, with that Python; what it remembers goes with the test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CKPTKIT_")]:
            patch.delenv(name)
        patch.setenv("CKPTKIT_STATE", str(top / "state"))
        started = Recipe(python, SCRIPT, top)
    try:
        yield started
    finally:
        started.close()


class Trials:
    """Of one case of a recipe, on so many ranks."""

    def __init__(self, recipe: Recipe, name: str, ranks: int, top: Path) -> None:
        self.recipe, self.name, self.ranks, self.top = recipe, name, ranks, top
        self.whole = self.train(top / "whole")
        assert self.whole.losses, recipe.said()
        self.bytes_of_one = _allocated(top / "whole" / name / f"checkpoint-{LAST_SAVE}")

    def train(self, folder: Path, *words: str, resume: str | None = None) -> Trained:
        """Train there; `words` as in sharded.py."""
        return self.recipe.train(" ".join((self.name, str(self.ranks), *words)), folder, resume=resume)

    def states(self, folder: Path) -> dict[int, str]:
        """{step: verdict} of what is there."""
        judged = judge(scan(str(folder / self.name)), quiet=0)
        return {j.checkpoint.step: j.verdict.state + (" resumable" if j.verdict.resumable else "") for j in judged}

    @contextmanager
    def volume(self, name: str) -> Iterator[Path]:
        """With room for two and a half of its checkpoints."""
        point = self.top / name
        point.mkdir()
        size = int(self.bytes_of_one * SHARE)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", point], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", "-l", point], check=True)


def guarded_finishes_where_plain_dies(trials: Trials) -> None:
    """And ends with the two newest, and with the losses of a training without us on a disk without end."""
    with trials.volume("plain") as volume:
        assert trials.train(volume).losses is None
    with trials.volume("guarded") as volume:
        guarded = trials.train(volume, "guarded")
        assert guarded.losses == trials.whole.losses, trials.recipe.said()
        assert trials.states(volume) == {4: "intact resumable", 6: "intact resumable"}


def killed_in_a_save_it_goes_on_as_if_it_had_not_been(trials: Trials, rank: int, phase: str) -> None:
    """The save that broke off is no checkpoint to anybody, and the one before it is there."""
    with trials.volume(f"kill-{rank}-{phase}") as volume:
        killed = trials.train(volume, "guarded", f"kill={rank}@{LAST_SAVE}:{phase}")
        assert killed.code == 9, trials.recipe.said()
        before = trials.states(volume)
        assert before[4] == "intact resumable" and not before.get(6, "").startswith("intact"), before
        resumed = trials.train(volume, "guarded", resume="auto")
        assert (resumed.resumed_step, resumed.losses) == (4, present(trials.whole.losses)[4:]), trials.recipe.said()
        assert trials.states(volume) == {4: "intact resumable", 6: "intact resumable"}


def refused_on_one_rank_it_is_written_again_or_skipped_on_all(trials: Trials, rank: int) -> None:
    """None waits for another in a collective: that would take minutes, and end all of them."""
    for attempts, steps in ((1, (4, 6)), (2, (2, 6))):
        with trials.volume(f"refused-{rank}-{attempts}") as volume:
            trained = trials.train(volume, "guarded", f"refuse={rank}@4x{attempts}")
            assert trained.losses == trials.whole.losses, trials.recipe.said()
            assert trials.states(volume) == dict.fromkeys(steps, "intact resumable")


def _allocated(path: Path) -> int:
    """Bytes that it takes on a tmpfs, whose pages are as large as an ext4's blocks."""
    return sum(os.lstat(os.path.join(top, name)).st_blocks * 512 for top, _, names in os.walk(path) for name in names)
