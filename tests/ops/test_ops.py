"""The verbs on real checkpoints and real disks, called as a library."""

import os
import subprocess
import sys
import time

import pytest

from ckptkit.errors import LockHeld, NoIntactCheckpoint, UsageError
from ckptkit.model.decision import PrunePlan
from ckptkit.model.reason import Reason
from ckptkit.ops.latest import latest
from ckptkit.ops.pin import pin, unpin
from ckptkit.ops.prune import discard, prune
from ckptkit.ops.read import judge, scan, verify
from ckptkit.policy.keep import SILENCE_SECONDS, Range, Rules
from tests.support.runs import make_run, names, restep, set_age, tree
from tests.support.typed import Mount, RunOf, present

KEEP_1 = Rules(Range(1, 1))


def test_torn_one_goes_and_two_intact_ones_stay_whatever_their_order(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "torn", 150: "intact"})
    pruned = prune(run)
    assert names(run) == ["checkpoint-100", "checkpoint-150"]
    assert present(pruned.outcome).deleted == (f"{run}/checkpoint-200",)
    assert os.path.basename(latest(run).path) == "checkpoint-150"


@pytest.mark.mounts
def test_what_was_freed_is_measured_and_is_what_was_expected(real: str, mount: Mount) -> None:
    run = make_run(real, f"{mount('tmpfs', 'size=40m')}/run", {100: "intact", 200: "intact", 300: "intact"})
    pruned = prune(run)
    assert 0.9 * pruned.plan.expected_freed_bytes <= present(pruned.outcome).freed_bytes
    assert present(pruned.outcome).notes == ()


def test_damaged_ones_go_before_intact_ones_whatever_their_order(run_of: RunOf) -> None:
    """Should something end the sweep halfway, the most intact ones are left."""
    run = run_of({100: "intact", 200: "torn", 300: "intact", 400: "torn", 500: "intact"})
    gone = [os.path.basename(path) for path in present(prune(run, KEEP_1, yes=True).outcome).deleted]
    assert gone == ["checkpoint-200", "checkpoint-400", "checkpoint-100", "checkpoint-300"]


def test_a_plan_with_nothing_to_delete_touches_nothing(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    before = tree(run)
    assert present(prune(run).outcome).deleted == ()
    assert tree(run) == before


def test_young_torn_one_is_being_written_and_stays(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "young"})
    assert present(prune(run).outcome).deleted == ()
    assert [j.verdict.state for j in judge(scan(run))] == ["intact", "in_progress"]
    assert [j.verdict.state for j in judge(scan(run), quiet=0)] == ["intact", "incomplete"]
    later = time.time() + SILENCE_SECONDS  # a training somewhere on this machine counts no more then
    assert present(prune(run, now=later).outcome).deleted == (f"{run}/checkpoint-200",)


def test_with_nothing_intact_prune_refuses_and_changes_nothing(run_of: RunOf) -> None:
    run = run_of({100: "torn", 200: "corrupt"})
    before = tree(run)
    for dry_run in (True, False):
        with pytest.raises(NoIntactCheckpoint):
            prune(run, dry_run=dry_run)
    assert tree(run) == before


def test_known_policy_is_not_asked_about_again(real: str, run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    prune(run)
    make_run(real, run, dict.fromkeys((300, 400, 500, 600), "intact"))
    assert len(present(prune(run).outcome).deleted) == 4
    make_run(real, run, dict.fromkeys((700, 800), "intact"))
    assert prune(run, KEEP_1).stopped


def test_survivor_that_broke_after_the_plan_stops_the_deletion(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})

    def break_it(plan: PrunePlan) -> None:
        with open(f"{run}/checkpoint-300/optimizer.pt", "r+b") as file:
            file.truncate(100)

    with pytest.raises(NoIntactCheckpoint, match="checkpoint-300 is not intact any more"):
        prune(run, announce=break_it)
    assert len(names(run)) == 3


def test_checkpoint_replaced_after_the_plan_is_left_alone(run_of: RunOf, real: str) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})

    def replace(plan: PrunePlan) -> None:
        os.rename(f"{run}/checkpoint-100", f"{run}/moved")
        os.mkdir(f"{run}/checkpoint-100")

    outcome = present(prune(run, announce=replace).outcome)
    assert [f.error for f in outcome.failures] == ["changed after it was judged: left alone"]
    assert "checkpoint-100" in names(run)


def test_pinned_one_stays_until_it_is_unpinned(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    pin(f"{run}/checkpoint-100")
    assert present(prune(run).outcome).deleted == ()
    unpin(f"{run}/checkpoint-100")
    assert present(prune(run).outcome).deleted == (f"{run}/checkpoint-100",)


def test_unreadable_pins_stop_every_deletion(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    with open(f"{run}/.ckptkit-pins", "wb") as file:
        file.write(b"\xff\xfe")
    with pytest.raises(UsageError, match="nothing is deleted until it can"):
        prune(run)
    assert len([n for n in names(run) if n.startswith("checkpoint")]) == 3


def test_what_a_process_has_open_stays_and_its_holder_is_named(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    with open(f"{run}/checkpoint-100/optimizer.pt", "rb"):
        pruned = prune(run)
    assert present(pruned.outcome).deleted == ()
    assert f"(pid {os.getpid()})" in pruned.plan.decisions[0].reasons[0].message
    assert pruned.plan.decisions[0].codes == {"held-open"}
    assert present(prune(run).outcome).deleted == (f"{run}/checkpoint-100",)


def test_what_a_process_has_mapped_without_a_descriptor_stays(run_of: RunOf) -> None:
    import mmap

    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    with open(f"{run}/checkpoint-100/adapter_model.safetensors", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert present(prune(run).outcome).deleted == ()
    mapped.close()
    assert len(present(prune(run).outcome).deleted) == 1


def test_two_sweeps_at_once_the_second_is_refused_with_the_first_ones_pid(run_of: RunOf) -> None:
    from ckptkit.system import lock

    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    with lock.hold(run), pytest.raises(LockHeld, match=f"process {os.getpid()}"):
        prune(run)
    prune(run)
    assert len(names(run)) == 2


def test_lock_timeout_waits_for_the_other_sweep(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    holder = subprocess.Popen(["flock", run, "sleep", "1"])
    while subprocess.run(["flock", "-n", run, "true"], check=False).returncode == 0:
        time.sleep(0.01)
    assert len(present(prune(run, lock_timeout=20).outcome).deleted) == 1
    holder.wait()


def test_killed_sweep_leaves_nothing_that_looks_alive_and_the_next_one_finishes_it(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"})
    inject = [
        "strace",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=unlinkat,rmdir",
        "-e",
        "inject=unlinkat:signal=KILL:when=3",
    ]
    script = f"from ckptkit.ops.prune import prune; prune({run!r})"
    killed = subprocess.run([*inject, sys.executable, "-c", script], cwd=os.getcwd(), check=False)
    assert killed.returncode != 0
    assert names(run) == ["checkpoint-200", "checkpoint-300", ".ckptkit-deleting-checkpoint-100"]
    pruned = prune(run)
    assert [left.name for left in pruned.plan.leftovers] == [".ckptkit-deleting-checkpoint-100"]
    assert names(run) == ["checkpoint-200", "checkpoint-300"]


def test_leftover_stays_while_nothing_intact_stands_beside_it(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "torn"})
    os.rename(f"{run}/checkpoint-100", f"{run}/.ckptkit-deleting-checkpoint-100")
    with pytest.raises(NoIntactCheckpoint):
        prune(run)
    assert ".ckptkit-deleting-checkpoint-100" in names(run)


def test_latest_passes_over_torn_and_corrupt_ones_and_says_why(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "torn", 300: "corrupt"})
    found = latest(run)
    assert found.path == f"{run}/checkpoint-100"
    told = {p.checkpoint.name: p.reason.message for p in found.passed_over}
    assert told["checkpoint-200"].startswith("incomplete: trainer_state.json is missing; it is written last")
    assert "is of step 301, its directory's name says 300" in told["checkpoint-300"]


def test_latest_of_weights_only_ones_must_be_asked_for(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"}, kind="only")
    with pytest.raises(NoIntactCheckpoint, match="weights only, not resumable"):
        latest(run)
    assert latest(run, weights_only_ok=True).path == f"{run}/checkpoint-200"


def test_latest_at_level_full_reads_records_and_falls_back(run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    with open(f"{run}/checkpoint-200/optimizer.pt", "r+b") as file:
        file.seek(os.fstat(file.fileno()).st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    assert latest(run).path == f"{run}/checkpoint-200"
    assert latest(run, level="full").path == f"{run}/checkpoint-100"


def test_stale_higher_step_of_a_reused_directory_is_passed_over_and_goes_first(real: str, run_of: RunOf) -> None:
    run = run_of({100: "intact", 200: "intact"})
    make_run(real, run, {9000: "intact"})
    state = f"{run}/checkpoint-9000/trainer_state.json"
    with open(state) as file:
        text = file.read()
    with open(state, "w") as file:
        file.write(text.replace('"loss": 4.', '"loss": 7.'))
    set_age(f"{run}/checkpoint-9000", time.time(), 90000)
    found = latest(run)
    assert found.path == f"{run}/checkpoint-200"
    assert found.passed_over[0].reason == Reason("earlier-run", "from an earlier run in this directory")
    assert present(prune(run).outcome).deleted == (f"{run}/checkpoint-9000",)


def test_discard_removes_a_partial_even_where_nothing_is_intact_and_never_the_only_intact_one(run_of: RunOf) -> None:
    run = run_of({100: "torn"})
    assert discard(f"{run}/checkpoint-100").deleted == (f"{run}/checkpoint-100",)
    make_run_path = run_of({200: "intact"})
    with pytest.raises(NoIntactCheckpoint):
        discard(f"{make_run_path}/checkpoint-200")


def test_restepped_copy_is_what_the_tests_think_it_is(run_of: RunOf) -> None:
    run = run_of({100: "intact"})
    restep(f"{run}/checkpoint-100", 7)
    assert [f.code for f in verify(run)[0].verdict.findings] == ["step-mismatch"]
