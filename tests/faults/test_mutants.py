"""Each promise is broken on purpose, in one line of the product: what holds it must go red."""

import os
from typing import NamedTuple

import pytest

from tests.faults.mutants import broken, goes_red, run_tests


class Mutant(NamedTuple):
    """In `file`, `old` becomes `new`; `test` must notice. often: also in the sample. whole: by all of its trials."""

    file: str
    old: str
    new: str
    test: str
    often: bool = False
    whole: bool = False


HERE = "tests/faults"
PLANS, ATTACKS, NAMES, KILLS, ERRORS = (
    f"{HERE}/test_{name}.py::test" for name in ("properties", "attacks", "hostile_names", "kill_points", "error_points")
)
MUTANTS = {
    "floor removed": Mutant(
        "policy/keep.py", "    if not line.live:\n", "    if True:\n",
        f"{PLANS}_run_is_never_left_without_an_intact_and_a_resumable_one", often=True),
    "torn one counted": Mutant(
        "policy/keep.py", "intact = [j for j in judged if j.verdict.intact and",
        "intact = [j for j in judged if (j.verdict.intact or j.verdict.damaged) and",
        f"{PLANS}_run_is_never_left_without_an_intact_and_a_resumable_one", often=True),
    "unreadable one deleted": Mutant(
        "policy/keep.py", 'if verdict.state == "unknown":', "if False:",
        f"{PLANS}_what_is_pinned_unreadable_or_being_written_never_dies"),
    "pins ignored": Mutant(
        "policy/keep.py", "    kept.append(dict(protected))\n", "",
        f"{PLANS}_what_is_pinned_unreadable_or_being_written_never_dies"),
    "stale one outranks": Mutant(
        "policy/lineage.py", "key=lambda j: (j.checkpoint.name not in stale, j.checkpoint.step, ",
        "key=lambda j: (j.checkpoint.step, ", f"{PLANS}_higher_steps_of_an_earlier_run_never_push_out_the_live_ones"),
    "clock believed": Mutant(
        "policy/lineage.py", "return newer.verdict.written_in_order and saved_at(newer)", "return saved_at(newer)",
        f"{PLANS}_clock_jumps_change_nothing_for_count_rules"),
    "range below its low end": Mutant(
        "policy/keep.py", "line.intact[-rules.keep_last.low :]", "line.intact[-1:]",
        f"{PLANS}_free_target_never_goes_below_the_low_end"),
    "plan deleted though dry": Mutant(
        "ops/prune.py", "    if dry_run:\n", "    if False:\n",
        f"{PLANS}_dry_run_tells_the_plan_that_is_executed_and_nothing_else_goes"),
    "oldest kept": Mutant("policy/keep.py", "line[-count.high :]", "line[: count.high]", f"{HERE}/test_year.py"),
    "deleted before verified": Mutant(
        "ops/execute.py", "    _survivors_still_intact(made)\n", "",
        "tests/ops/test_ops.py::test_survivor_that_broke_after_the_plan_stops_the_deletion", often=True),
    "error swallowed": Mutant(
        "delete/checkpoint.py",
        "            yield Failure(path, in_words(error, path))\n", "            yield from ()\n",
        "tests/delete/test_delete.py::test_immutable_file_is_told_and_what_is_left_of_it_looks_dead", often=True),
    "removed under its own name": Mutant(
        "delete/checkpoint.py", "        aside = _free_aside_name(run_fd, checkpoint.name)\n",
        "        aside = checkpoint.name\n",
        f"{KILLS}_what_stays_survives_every_kill_point_and_a_rerun_ends_the_same[prune]", whole=True),
    "pins written in place": Mutant(
        "system/small_files.py", '    temporary = f"{name}.tmp"\n', "    temporary = name\n",
        f"{KILLS}_what_stays_survives_every_kill_point_and_a_rerun_ends_the_same[pin]", often=True),
    "error of any call swallowed": Mutant(
        "delete/checkpoint.py",
        "            yield Failure(path, in_words(error, path))\n", "            yield from ()\n",
        f"{ERRORS}_no_error_of_a_change_costs_what_stays_or_passes_for_success[prune]", often=True),
    "unreadable one no failure": Mutant(
        "cli/acting.py", "    return 3 if left else 0\n", "    return 0\n",
        "tests/cli/test_cli.py::test_one_that_can_not_be_read_is_left_alone_told_and_no_success[prune]", often=True),
    "symlink followed by the removal": Mutant(
        "delete/checkpoint.py", "            yield from self.attempt(path, lambda: os.unlink(name, dir_fd=fd))\n",
        "            yield from self.attempt(path, lambda: os.unlink(os.path.realpath(path)))\n",
        f"{ATTACKS}_link_swapped_in_before_any_call_reaches_nothing_outside[prune-file-symlink]", often=True),
    "unreadable pins taken for none": Mutant(
        "runs/pins.py", "    except FileNotFoundError:\n", "    except OSError:\n",
        f"{NAMES}_own_files_that_are_none_are_told_and_hang_nothing[fifo]"),
    "written through a link": Mutant(
        "system/small_files.py",
        "os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC", "os.O_WRONLY | os.O_CREAT | os.O_TRUNC",
        f"{ATTACKS}_link_swapped_in_before_any_call_reaches_nothing_outside[pin-pins-hard link]"),
    "temporary name trusted": Mutant(
        "system/small_files.py",
        "    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644,",
        "    os.link(name, temporary, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)\n"
        "    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o644,",
        f"{ATTACKS}_pins_and_manifests_write_through_no_link[hard link]"),
    "special file opened": Mutant(
        "system/small_files.py", "if not stat.S_ISREG(os.fstat(found).st_mode):", "if False:",
        f"{NAMES}_own_files_that_are_none_are_told_and_hang_nothing[fifo]"),
    "two dots accepted": Mutant(
        "verify/manifest.py", "        if name in parts.seen:\n",
        '        if ".." in name:\n            continue\n        if name in parts.seen:\n',
        f"{ATTACKS}_lying_manifest_touches_nothing_and_makes_nothing_outside_count[quick]", often=True),
    "names printed raw": Mutant(
        "units.py",
        'c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name', "name",
        f"{NAMES}_no_hostile_name_reaches_the_terminal"),
    "nested without end": Mutant(
        "model/checkpoint.py", "DEEPEST = 64", "DEEPEST = 10**6",
        f"{ATTACKS}_directories_nested_without_end_are_told_and_break_nothing"),
}  # fmt: skip
EXHAUSTIVE = os.environ.get("CKPTKIT_EXHAUSTIVE") == "1"
CHOSEN = [name for name, mutant in MUTANTS.items() if mutant.often or EXHAUSTIVE]


@pytest.mark.mounts
@pytest.mark.parametrize("name", CHOSEN)
def test_product_broken_in_one_line_is_noticed(real, tmp_path, monkeypatch, tally, name):
    mutant = MUTANTS[name]
    monkeypatch.setenv("CKPTKIT_EXHAUSTIVE", str(int(mutant.whole)))
    if unnoticed := goes_red(broken(tmp_path, *mutant[:3]), real, mutant.test):
        tally.violation("products broken in one line", unnoticed)
    tally.ran("products broken in one line")


@pytest.mark.mounts
def test_same_tests_are_green_on_the_product_as_it_is(real, tmp_path, monkeypatch, tally):
    monkeypatch.delenv("CKPTKIT_EXHAUSTIVE", raising=False)
    whole = broken(tmp_path, "runs/pins.py", "\nFILE = ", "\n\nFILE = ")  # one more empty line breaks nothing
    code, said = run_tests(whole, real, *{MUTANTS[name].test for name in CHOSEN})
    assert code == 0, said[-3000:]
    tally.ran("whole products tested as the broken ones are")
