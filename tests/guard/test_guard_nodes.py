"""Two nodes of two ranks under torchrun and gloo, a tmpfs each: both hold what was announced, and agree on each save.

Each "node" is a launcher in a mount namespace of its own: one path, two disks.
"""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import launching
import pytest

HERE = os.path.dirname(__file__)
RANKS, FIRST_RANKS = range(4), (0, 2)  # of which node 0 has the first two
BYTES = 2_900_000  # three checkpoints of 0.9 MB: the plain Trainer with a limit of 2 just gets along
MOUNT = 'for disk in $DISKS; do mount -t tmpfs -o size=$SIZE tmpfs "$disk" || exit; done; exec "$@"'
WITH_30_AND_40 = ["checkpoint-30", "checkpoint-40"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[int, dict[str, Any]]]]:
    """{scene: {rank: what it saw}}; one launch for all, since each rank costs an import of torch."""
    top = tmp_path_factory.mktemp("nodes")
    with open(os.path.join(HERE, "two_nodes.py")) as file:
        shares = dict(re.findall(r"^    (\w+): (True|False),$", file.read(), re.MULTILINE))
    for scene in shares:
        (top / scene).mkdir()
    # Where two nodes write the same files, each has temporary ones of its own beside them.
    mounts = {str(top / s): BYTES * (2 if "each" in s else 1) for s, shared in shares.items() if shared == "True"}
    disks = [str(top / scene) for scene, shared in shares.items() if shared == "False"]
    try:
        for mount, size in mounts.items():
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount], check=True)
        port = _free_port()
        yield launching.scenes([launching.begin(*_node(number, port, str(top), disks)) for number in (0, 1)])
    finally:
        for mount in mounts:
            subprocess.run(["umount", "-l", mount], check=False)


def _free_port() -> Any:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _node(number: int, port: Any, top: str, disks: list[str]) -> tuple[str, ...]:
    apart = ("unshare", "-m", "--propagation", "private", "env", "GLOO_SOCKET_IFNAME=lo", f"SIZE={BYTES}")
    at = ("--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "2")
    where = ("--master-addr", "127.0.0.1", "--master-port", str(port))
    script = (os.path.join(HERE, "two_nodes.py"), top)
    return (*apart, f"DISKS={' '.join(disks)}", "bash", "-c", MOUNT, "node", *launching.TORCHRUN, *at, *where, *script)


def own(rank: int) -> list[str]:
    """The files of random states that a node's own disk holds."""
    return [f"rng_state_{of}.pth" for of in (rank // 2 * 2, rank // 2 * 2 + 1)]


@pytest.mark.slow
def test_each_node_keeps_what_was_announced_with_its_own_ranks_files_alone(
    scenes: dict[str, dict[int, dict[str, Any]]],
) -> None:
    for rank in RANKS:
        plain, seen = scenes["each_plain"][rank], scenes["each"][rank]
        assert seen["names"] == plain["names"] == WITH_30_AND_40
        assert (seen["step"], seen["skipped"], seen["peak"]) == (40, 0, 2)
        assert seen["resumable"] == {"checkpoint-30": True, "checkpoint-40": True}
        assert seen["ranks"] == plain["ranks"] == own(rank)
        assert (seen["leads"], seen["node"]) == (rank in FIRST_RANKS, rank // 2)


def test_a_save_that_one_nodes_disk_has_no_room_for_is_skipped_on_both(
    scenes: dict[str, dict[int, dict[str, Any]]],
) -> None:
    for rank in RANKS:
        seen = scenes["each_neighbour"][rank]
        assert (seen["step"], seen["skipped"]) == (40, 2)
        assert seen["resumable"] == {"checkpoint-10": True, "checkpoint-40": True}, (
            "once there is room again, it is saved"
        )


def test_a_save_that_one_nodes_disk_refuses_costs_the_other_no_older_checkpoint(
    scenes: dict[str, dict[int, dict[str, Any]]],
) -> None:
    for rank in RANKS:
        seen = scenes["each_refused"][rank]
        assert (seen["step"], seen["skipped"]) == (40, 1)
        assert seen["meanwhile"] == (["checkpoint-10"] if rank < 2 else []) + ["checkpoint-20"]
        assert seen["resumable"] == {"checkpoint-20": True, "checkpoint-40": True}


def test_a_save_that_fails_on_one_node_is_written_again_by_both(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    for rank in RANKS:
        seen = scenes["each_in_the_middle"][rank]
        assert (seen["step"], seen["skipped"]) == (40, 0)
        assert seen["resumable"] == {"checkpoint-30": True, "checkpoint-40": True}


def test_both_resume_from_the_newest_that_is_intact_on_both(scenes: dict[str, dict[int, dict[str, Any]]]) -> None:
    for rank in RANKS:
        assert scenes["each_resumed"][rank] == {"first": [11], "names": WITH_30_AND_40}


def test_only_the_best_trial_of_a_search_stays_on_both_where_asked_for(
    scenes: dict[str, dict[int, dict[str, Any]]],
) -> None:
    for rank in RANKS:
        assert scenes["each_search"][rank] == {"left": {"run-0": [], "run-1": ["checkpoint-10"], "run-2": []}}


@pytest.mark.parametrize("scene", ["shared", "each_shared"])
def test_one_disk_is_looked_after_by_rank_0_alone(scenes: dict[str, dict[int, dict[str, Any]]], scene: str) -> None:
    """With save_on_each_node too, where both nodes write the same files, as they do without us."""
    for rank in RANKS:
        plain, seen = scenes[f"{scene}_plain"][rank], scenes[scene][rank]
        assert seen["names"] == plain["names"] == WITH_30_AND_40
        assert (seen["step"], seen["skipped"], seen["leads"]) == (40, 0, rank == 0)
        assert seen["ranks"] == plain["ranks"] == [f"rng_state_{of}.pth" for of in RANKS]
        assert scene != "shared" or (seen["peak"], all(seen["resumable"].values())) == (2, True)


def test_disks_of_their_own_without_save_on_each_node_end_as_without_us(
    scenes: dict[str, dict[int, dict[str, Any]]],
) -> None:
    """A mistake: no checkpoint is whole on any disk, so nobody can judge them, and the Trainer rotates on node 0."""
    for rank in RANKS:
        plain, seen = scenes["apart_plain"][rank], scenes["apart"][rank]
        assert (seen["names"], seen["ranks"]) == (plain["names"], plain["ranks"])
        assert (seen["step"], seen["skipped"], seen["peak"]) == (60, 0, plain["peak"])
