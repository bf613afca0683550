"""Two ranks under torchrun and gloo: one answer for both, and no rank waits in a collective that another has left."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

HERE = os.path.dirname(__file__)
MiB = 1 << 20
RESUMABLE = ["intact", True]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, list[Any]]]:
    """{scene: [what rank 0 saw, what rank 1 saw]}; one launch for all, since each costs two imports of torch."""
    names = [line.strip(" ,\n") for line in _block(os.path.join(HERE, "two_ranks.py"), "SCENES = [\n", "]\n")]
    mounts = []
    try:
        for name in names:
            mounts.append(str(tmp_path_factory.mktemp(name)))
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={8 * MiB},nr_inodes=300", "tmpfs", mounts[-1]], check=True
            )
        yield _launch(mounts)
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=False)


def _block(path: str, start: str, end: str) -> list[str]:
    with open(path) as file:
        return file.read().split(start)[1].split(end)[0].splitlines()


def _launch(mounts: list[str]) -> dict[Any, list[Any]]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launched = subprocess.Popen(
        [*command, os.path.join(HERE, "two_ranks.py"), *mounts],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        out, err = launched.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        launched.terminate()  # it ends its ranks; killed, it would leave them
        out, err = launched.communicate()
    seen: dict[Any, dict[Any, Any]] = {}
    for line in out.splitlines():
        if line.startswith('{"scene"'):
            found = json.loads(line)
            seen.setdefault(found.pop("scene"), {})[found.pop("rank")] = found
    assert launched.returncode == 0, f"after {list(seen)}: {err[-4000:]}"
    return {scene: [by_rank[0], by_rank[1]] for scene, by_rank in seen.items()}


def agreed(scenes: dict[Any, list[Any]], name: str) -> Any:
    """What both ranks saw alike."""
    first, second = scenes[name]
    assert first == second
    return first


def states(scene: Any) -> dict[Any, Any]:
    return {step: rest for step, *rest in scene["states"]}


@pytest.mark.slow
def test_undisturbed(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "undisturbed")
    assert (scene["step"], states(scene)) == (40, {30: RESUMABLE, 40: RESUMABLE})
    assert scene["model"] is True


def test_a_full_disk_skips_on_both(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "full_in_the_middle")
    assert (scene["step"], states(scene)) == (40, {20: RESUMABLE})
    assert scene["names"] == ["checkpoint-20"] and scene["model"] is True, "the model alone fits into what is left"


def test_stop_ends_both_at_the_same_step(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "stop")
    assert (scene["step"], states(scene)) == (20, {10: RESUMABLE})


def test_weights_only_on_both(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "weights_only")
    assert (scene["step"], states(scene)) == (20, {10: RESUMABLE, 20: ["intact", False]})


def test_a_save_that_fails_on_one_rank_is_written_again_by_both(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "one_rank_fails_once")
    assert (scene["step"], states(scene)) == (40, {30: RESUMABLE, 40: RESUMABLE})


def test_a_rank_that_can_never_write_costs_the_saves_and_nothing_else(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "one_rank_always_fails")
    assert (scene["step"], states(scene)) == (40, {10: RESUMABLE})


def test_a_rank_that_waits_behind_the_weights_is_not_left_there(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "weights_fail_before_a_barrier")
    assert (scene["step"], states(scene)) == (40, {30: RESUMABLE, 40: RESUMABLE})


def test_a_directory_that_can_not_be_made_is_the_disks_fault(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "no_inode_for_the_directory")
    assert (scene["step"], states(scene)) == (20, {10: RESUMABLE})


def test_save_model_of_a_persons_own_stays_in_place(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "own_save_model")
    assert (scene["calls"], scene["own"], states(scene)) == (4, True, {30: RESUMABLE, 40: RESUMABLE})


def test_nothing_to_resume_is_an_error_on_both(scenes: dict[Any, list[Any]]) -> None:
    assert agreed(scenes, "nothing_to_resume") == {"error": "NoIntactCheckpoint"}


def test_both_resume_from_the_same(scenes: dict[Any, list[Any]]) -> None:
    scene = agreed(scenes, "resumed")
    assert (scene["first"], states(scene)) == ([21], {30: RESUMABLE, 40: RESUMABLE})
