"""Each flag, check and rung that a person can be shown, and the test in which it rises and clears on real files."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptkit.advise import levels

TESTS = Path(__file__).resolve().parents[1]
PACKAGE = TESTS.parent / "ckptkit"
BOARD = "advise/test_board_flags.py"
QUOTAS = "system/test_disk_quota.py"
GAUGES = ("ok", "noticed", "filling", "high", "critical")

DISKREPORT = {
    **{f"volume-{rung}": "advise/test_board_flags.py::test_use_rises_from_green_to_red_and_clears" for rung in GAUGES},
    **{f"inodes-{rung}": "advise/test_board_flags.py::test_inodes_rise_from_green_to_red_and_clear" for rung in GAUGES},
    **{
        f"quota-{rung}": f"{QUOTAS}::test_full_quota_on_a_volume_with_room_rises_and_clears_when_room_is_made"
        for rung in GAUGES
    },
    **{f"quota-inodes-{rung}": f"{QUOTAS}::test_quota_is_read_and_its_flags_follow_its_use" for rung in GAUGES},
    "read-only": "advise/test_board_flags.py::test_read_only_volume_rises_and_clears",
    "not-durable": "advise/test_flags_of_runs.py::test_run_in_memory_is_yellow_until_it_lies_on_a_disk",
    "unreadable": "advise/test_board_flags.py::test_directories_that_cant_be_read_are_told_and_clear",
    "unfinished": "advise/test_flags_of_runs.py::test_walk_that_ran_out_of_time_is_yellow_and_one_that_did_not_is_not",
    "caches": f"{BOARD}::test_caches_above_a_twentieth_of_the_volume_rise_and_their_command_clears_them",
    "torn-save": "advise/test_board_flags.py::test_torn_save_and_core_dump_rise_and_their_commands_clear_them",
    "core-dump": "advise/test_board_flags.py::test_torn_save_and_core_dump_rise_and_their_commands_clear_them",
    "open-deleted": "advise/test_board_flags.py::test_much_that_is_deleted_but_open_rises_and_clears_when_it_is_closed",
    "training": "advise/test_board_flags.py::test_training_is_green_its_silent_log_and_deleted_log_yellow",
    "log-silent": "advise/test_board_flags.py::test_training_is_green_its_silent_log_and_deleted_log_yellow",
    "log-deleted": "advise/test_board_flags.py::test_training_is_green_its_silent_log_and_deleted_log_yellow",
    "on-terminal": "advise/test_board_flags.py::test_training_on_a_terminal_is_yellow_until_it_ends",
    "session-lost": "advise/test_flags_of_runs.py::test_training_whose_session_is_gone_is_yellow_until_it_ends",
    "fast-growth": "advise/test_flags_of_runs.py::test_more_than_5_gb_an_hour_is_yellow_until_it_grows_no_more",
    "stable": "advise/test_flags_of_runs.py::test_30_to_40_percent_for_hours_is_green_and_stable",
    "growth": "ops/test_foreseeing.py::test_room_that_was_made_after_the_last_look_counts_at_once",
    "intact": "advise/test_flags_of_runs.py::test_no_intact_one_is_red_until_there_is_one",
    "no-intact": "advise/test_flags_of_runs.py::test_no_intact_one_is_red_until_there_is_one",
    "incomplete": "advise/test_flags_of_runs.py::test_damaged_one_is_red_until_prune_took_it",
    "corrupt": "advise/test_flags_of_runs.py::test_damaged_one_is_red_until_prune_took_it",
    "unknown": "advise/test_flags_of_runs.py::test_one_that_cant_be_judged_is_yellow_until_it_can",
    "too-many": "advise/test_flags_of_runs.py::test_more_than_the_policy_keeps_are_red_until_prune_took_them",
    "not-installed": "test_dependencies.py::test_report_names_what_it_leaves_out_and_what_to_install",
    "outlier": "advise/test_flags_of_runs.py::test_one_that_is_much_larger_is_yellow_until_that_is_gone",
    "leftovers": "advise/test_flags_of_runs.py::test_what_a_killed_sweep_left_is_yellow_until_the_next_one",
}
MONITOR = {
    "used": "ops/test_monitor.py::test_use_rises_and_clears_on_a_real_volume_and_each_change_is_told_once",
    "inodes": "ops/test_monitor.py::test_inodes_run_out_and_come_back",
    "read-only": "ops/test_monitor.py::test_read_only_volume_is_told_once_and_when_it_can_be_written_again",
    "growth": "advise/test_flags_of_runs.py::test_more_than_5_gb_an_hour_is_yellow_until_it_grows_no_more",
    "headroom": "ops/test_monitor.py::test_headroom_shrinks_and_recovers_with_real_checkpoints_and_looks_come_faster",
    "count": "ops/test_monitor.py::test_more_than_the_policy_keeps_is_told_but_not_while_a_save_is_fresh",
    "no-save": "ops/test_monitor.py::test_no_save_for_three_intervals_and_the_next_one_clears_it",
    "damaged": "ops/test_monitor.py::test_newest_one_torn_is_told_and_clears_with_the_next_intact_one",
    "full-soon": "ops/test_foreseeing.py::test_monitor_warns_a_day_before_and_takes_it_back_when_pruning_works_again",
    "unreadable": "ops/test_monitor.py::test_volume_that_goes_away_is_told_once_and_the_monitor_goes_on",
}
PREFLIGHT = {
    "volume": "ops/test_preflight.py::test_a_volume_above_90_percent_and_one_without_headroom_stand_against_it",
    "headroom": "ops/test_preflight.py::test_a_volume_above_90_percent_and_one_without_headroom_stand_against_it",
    "read-only": "ops/test_preflight.py::test_a_file_that_cant_be_written_stands_against_it",
    "write": "ops/test_preflight.py::test_a_file_that_cant_be_written_stands_against_it",
    "inodes": "ops/test_preflight.py::test_too_few_inodes_stand_against_it",
    "checkpoints": "ops/test_preflight.py::test_more_checkpoints_than_kept_stand_against_it_only_where_no_save_fits",
    "resume": "ops/test_preflight.py::test_nothing_intact_stands_against_it",
    "tracker": "layouts/test_layouts_bad_input.py::test_preflight_tells_of_a_tracker_that_names_none",
    "unknown": "ops/test_unknown.py::test_one_that_is_newer_stands_against_a_start_until_it_is_set_aside_or_skipped",
    "config": "ops/test_preflight.py::test_settings_of_the_next_training_are_judged_against_the_volume",
    "cleanup": "scripts/test_cleanup.py::test_callback_that_sorts_by_text_stands_against_a_start_until_it_is_gone",
    "clock": "ops/test_preflight.py::test_a_clock_behind_the_checkpoints_is_told",
    "second-training": "ops/test_preflight.py::test_a_second_training_on_the_run_stands_against_it",
    "places": "ops/test_preflight_places.py::test_full_cache_of_models_is_in_the_way_and_no_more_once_there_is_room",
    "best": "ops/test_preflight.py::test_best_checkpoint_that_is_gone_is_told_until_it_is_back",
    "setting": "ops/test_preflight.py::test_setting_that_nearly_is_the_trainers_is_in_the_way_until_it_is_spelt_right",
    "watch": "ops/test_preflight.py::test_a_monitor_and_a_cron_that_sweeps_are_seen_and_their_absence_told",
    "session": "ops/test_preflight.py::test_what_keeps_a_training_when_the_line_drops_is_told_from_inside_of_it",
}
# What a flag is called by a value: the state of a verdict, the kind of a cache, the rungs of what is used.
BY_VALUE = {"incomplete", "corrupt", "torn-save", "core-dump"}


def codes(file: str, noun: str) -> Iterator[Any]:
    """Each code that a room gives to its flags or checks, where it stands there as a text."""
    path = PACKAGE / file
    for text in [each.read_text() for each in (path.glob("*.py") if path.is_dir() else [path])]:
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == noun
                and isinstance(node.args[1], ast.Constant)
            ):
                yield node.args[1].value


def test_every_flag_check_and_rung_is_in_the_table() -> None:
    used = {code for code in DISKREPORT if code.split("-")[0] in ("volume", "inodes", "quota")}
    assert {*codes("advise/flags.py", "Flag")} == {*DISKREPORT} - used - BY_VALUE
    assert {*codes("advise", "Check")} == {*PREFLIGHT}
    assert {*levels.LADDERS} == {*MONITOR}


@pytest.mark.parametrize("where", sorted({*DISKREPORT.values(), *MONITOR.values(), *PREFLIGHT.values()}))
def test_the_test_that_shows_it_is_there(where: str) -> None:
    file, name = where.split("::")
    tree = ast.parse((TESTS / file).read_text())
    assert name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
