"""What in a run stands for one of its checkpoints: a link, a file with its name, or one with its step."""

import os
from pathlib import Path

import pytest

from ckptkit.model.reason import Reason
from ckptkit.runs import trackers
from ckptkit.runs.discover import scan


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = tmp_path / "runs/a"
    for step in (5, 50):
        (made / f"checkpoint-{step}").mkdir(parents=True)
    return made


@pytest.mark.parametrize(
    "file, text, meant",
    [
        ("latest_checkpointed_iteration.txt", "5", "checkpoint-5"),
        ("latest_checkpointed_iteration.txt", "50\n", "checkpoint-50"),
        ("latest", "checkpoint-5", "checkpoint-5"),
        ("latest", "a/checkpoint-5", "checkpoint-5"),
        ("latest", "{run}/checkpoint-5/", "checkpoint-5"),
        ("latest", "500", None),
        ("latest", "../b/checkpoint-5", None),
        ("latest", "checkpoint-5/model", None),
        ("latest", "", None),
        ("newest.txt", "5", None),
    ],
)
def test_a_file_names_a_checkpoint_by_its_step_or_its_path_and_nothing_else(
    run: Path, file: str, text: str, meant: str | None
) -> None:
    (run / file).write_text(text.format(run=run))
    assert trackers.named(scan(str(run))) == ({meant: Reason("tracked", f"{file} names it")} if meant else {})


def test_a_link_stands_for_what_it_points_at_and_a_lost_one_is_told(run: Path) -> None:
    (run / "last-checkpoint").symlink_to("checkpoint-50")
    assert trackers.named(scan(str(run))) == {"checkpoint-50": Reason("tracked", "last-checkpoint points at it")}
    (run / "latest").write_text("checkpoint-9")
    os.rmdir(run / "checkpoint-50")
    assert trackers.named(scan(str(run))) == {}
    assert trackers.dangling(scan(str(run))) == {"latest": "checkpoint-9", "last-checkpoint": "checkpoint-50"}
