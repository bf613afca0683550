"""The table of mutants: what is broken in one line of the product, and the cheapest test that must notice it."""

from typing import NamedTuple


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
    # --- promises, noticed by what does the fault on purpose --------------------------------------------------------
    "floor removed": Mutant(
        "policy/keep.py", "    if not line.live:\n", "    if True:\n",
        f"{PLANS}_run_is_never_left_without_an_intact_and_a_resumable_one", often=True),
    "torn one counted": Mutant(
        "policy/keep.py", "intact = [j for j in judged if j.verdict.intact and",
        "intact = [j for j in judged if (j.verdict.intact or j.verdict.damaged) and",
        f"{PLANS}_run_is_never_left_without_an_intact_and_a_resumable_one", often=True),
    "unreadable one deleted": Mutant(
        "policy/keep.py", "    if not verdict.damaged:\n", '    if verdict.state == "in_progress":\n',
        f"{PLANS}_what_is_pinned_unreadable_or_being_written_never_dies"),
    "pins ignored": Mutant(
        "policy/keep.py", "    kept.append(dict(protected))\n", "",
        f"{PLANS}_what_is_pinned_unreadable_or_being_written_never_dies"),
    "stale one outranks": Mutant(
        "policy/lineage.py", "key=lambda j: (j.checkpoint.name not in stale, j.checkpoint.step, ",
        "key=lambda j: (j.checkpoint.step, ", f"{PLANS}_higher_steps_of_an_earlier_run_never_push_out_the_live_ones"),
    "clock believed": Mutant(
        "policy/lineage.py", "return newer.verdict.written_in_order and saved_at(newer)", "return saved_at(newer)",
        "tests/policy/test_lineage.py::test_in_a_copy_of_a_directory_that_two_runs_used_the_newest_of_each_stays"),
    "range below its low end": Mutant(
        "policy/keep.py", "line.intact[-rules.keep_last.low :]", "line.intact[-1:]",
        f"{PLANS}_free_target_never_goes_below_the_low_end"),
    "plan deleted though dry": Mutant(
        "ops/prune.py", "    if dry_run:\n", "    if False:\n",
        f"{PLANS}_dry_run_tells_the_plan_that_is_executed_and_nothing_else_goes"),
    "oldest kept": Mutant("policy/keep.py", "line[-count.high :]", "line[: count.high]", f"{HERE}/test_year.py"),
    "deleted before verified": Mutant(
        "ops/execute.py", "    _survivors_still_intact(plan)\n", "",
        "tests/ops/test_ops.py::test_survivor_that_broke_after_the_plan_stops_the_deletion", often=True),
    "error swallowed": Mutant(
        "delete/checkpoint.py",
        "            yield refused(path, error)\n", "            yield from ()\n",
        "tests/delete/test_delete.py::test_immutable_file_is_told_and_what_is_left_of_it_looks_dead", often=True),
    "removed under its own name": Mutant(
        "delete/checkpoint.py", "        aside = _free_aside_name(run_fd, checkpoint.name)\n",
        "        aside = checkpoint.name\n",
        f"{KILLS}_what_stays_survives_every_kill_point_and_a_rerun_ends_the_same[prune]", whole=True),
    "pins written in place": Mutant(
        "system/small_files.py", '    temporary = temporary or f"{name}.tmp"\n', "    temporary = name\n",
        f"{KILLS}_what_stays_survives_every_kill_point_and_a_rerun_ends_the_same[pin]", often=True),
    "error of any call swallowed": Mutant(
        "delete/checkpoint.py",
        "            yield refused(path, error)\n", "            yield from ()\n",
        f"{ERRORS}_no_error_of_a_change_costs_what_stays_or_passes_for_success[prune]", often=True),
    "unreadable one no failure": Mutant(
        "cli/acting.py", "    return 3 if left_alone else 0\n", "    return 0\n",
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
        "system/small_files.py", "if not stat.S_ISREG(os.fstat(path_fd).st_mode):", "if False:",
        f"{NAMES}_own_files_that_are_none_are_told_and_hang_nothing[fifo]"),
    "two dots accepted": Mutant(
        "verify/manifest.py", "        if name in parts.facts:\n",
        '        if ".." in name:\n            continue\n        if name in parts.facts:\n',
        f"{ATTACKS}_lying_manifest_touches_nothing_and_makes_nothing_outside_count[quick]", often=True),
    "names printed raw": Mutant(
        "units.py",
        'c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name', "name",
        f"{NAMES}_no_hostile_name_reaches_the_terminal"),
    "nested without end": Mutant(
        "model/checkpoint.py", "DEEPEST = 64", "DEEPEST = 10**6",
        f"{ATTACKS}_directories_nested_without_end_are_told_and_break_nothing"),
    # --- lines of each room, noticed by its own tests ---------------------------------------------------------------
    "multiples released": Mutant(
        "policy/keep.py", "j.checkpoint.step % steps == 0", "j.checkpoint.step % steps != 0",
        "tests/policy/test_policy.py::test_rule"),
    "NaN is best": Mutant(
        "policy/keep.py", 'else float("-inf")', 'else float("inf")',
        "tests/policy/test_policy.py::test_keep_best_ignores_nan"),
    "leftovers go with nothing intact": Mutant(
        "policy/keep.py", "tuple(leftovers) if prune_plan.intact else ()", "tuple(leftovers)",
        "tests/policy/test_policy.py::test_with_nothing_intact_nothing_goes"),
    "half needs a yes": Mutant(
        "policy/mass_delete.py", "> (intact.count(kind)", ">= (intact.count(kind)",
        "tests/policy/test_policy.py::test_new_policy_may_delete_half_of_the_intact_ones_unasked"),
    "kinds share a history": Mutant(
        "policy/lineage.py", "    if kind_of(one.checkpoint) != kind_of(other.checkpoint):\n", "    if False:\n",
        "tests/policy/test_lineage.py::test_logs_of_two_kinds_say_nothing_of_one_another"),
    "oldest stay resumable": Mutant(
        "policy/strip.py", "alike[-keep:]", "alike[:keep]",
        "tests/policy/test_strip_policy.py::test_the_newest_n_resumable_ones_stay_and_every_other_one_goes"),
    "all stripped unasked": Mutant(
        "policy/strip.py", "len(plan.resumable) // 2", "len(plan.resumable)",
        "tests/ops/test_strip.py::test_more_than_half_goes_only_when_asked_for"),
    "0 is a number above 0": Mutant(
        "policy/rules.py", " or int(text) == 0:", ":",
        "tests/policy/test_rules.py::test_value_refuses_nonsense_in_one_line_with_the_arguments_name"),
    "weeks of a day": Mutant(
        "policy/rules.py", '"w": 604800', '"w": 86400',
        "tests/policy/test_rules.py::test_durations_are_seconds_to_weeks"),
    "embeddings in 8 bit": Mutant(
        "forecast/optimizers.py", ' and shape.kind != "embedding"', "",
        "tests/forecast/test_sizes.py::test_8bit_states_are_told_within_one_percent"),
    "guard content with one": Mutant(
        "forecast/budget.py", "FLOOR = 2", "FLOOR = 1",
        "tests/ops/test_plan.py::test_the_guard_needs_two_even_with_a_limit_of_one"),
    "trainer prunes before it saves": Mutant(
        "forecast/budget.py", "_peak(*course, limit, 1)", "_peak(*course, limit, 0)",
        "tests/ops/test_plan.py::test_the_seed_dies_where_deletion_fails_and_runs_with_the_guard"),
    "names sorted as numbers": Mutant(
        "forecast/name_order.py", "str(after) < str(step)", "after < step",
        "tests/scripts/test_cleanup.py::test_order_of_text_is_a_no_go_if_this_training_gets_there"),
    "alert flutters": Mutant(
        "advise/levels.py", "rung.above - ladder.band", "rung.above",
        "tests/advise/test_thresholds.py::test_use"),
    "growth by one tooth": Mutant(
        "advise/levels.py", "return median(slopes)", "return max(slopes)",
        "tests/advise/test_thresholds.py::test_growth_of_a_saw_without_a_trend_is_small"),
    "secret shown": Mutant(
        "advise/restart.py", " and not SECRET.search(word)", "",
        "tests/advise/test_restart.py::test_command_with_a_secret_or_a_control_code_is_not_kept"),
    "unsorted listing taken for numbers": Mutant(
        "scripts/ordering.py", "return through.measure or NAMES", "return through.measure or NUMBERS",
        "tests/scripts/test_python.py::test_spelling_is_found_and_does_what_is_said_of_it"),
    "exit code without a line in man": Mutant(
        "manual/roff.py", "in page.exits:", "in page.exits[1:]:",
        "tests/manual/test_man.py::test_page_of_a_verb_tells_each_flag_example_and_exit_code_of_its_help"),
    "stranger completed": Mutant(
        "manual/shells.py", "  [[ $path == @SCRIPTS@/* ]] && _ckptkit", "  _ckptkit",
        "tests/manual/test_completion.py::test_stranger_of_its_name_gets_no_flag_of_ours"),
    "words folded": Mutant(
        "manual/columns.py", "break_long_words=False", "break_long_words=True",
        "tests/manual/test_columns.py::"
        "test_a_word_that_is_longer_than_the_line_is_neither_folded_nor_broken_at_a_hyphen"),
    "broken at hyphens": Mutant(
        "manual/columns.py", "break_on_hyphens=False", "break_on_hyphens=True",
        "tests/manual/test_columns.py::"
        "test_a_word_that_is_longer_than_the_line_is_neither_folded_nor_broken_at_a_hyphen"),
    "person's name a checkpoint": Mutant(
        "layouts/hf_trainer.py", "checkpoint-(0|[1-9][0-9]{0,17})", "checkpoint-([0-9]{1,18})",
        "tests/runs/test_discover.py::test_name_that_only_begins_like_a_checkpoints_is_a_stray"),
    "writer's mark ignored": Mutant(
        "layouts/hf_trainer.py", 'incomplete=(SAVING, "checkpoint-is-incomplete.txt")', "incomplete=()",
        "tests/verify/test_verdict.py::test_damage"),
    "ranks of ZeRO not counted": Mutant(
        "layouts/deepspeed.py", "max(highest, world // columns)", "highest",
        "tests/layouts/test_judged.py::test_each_is_found_with_its_layout_and_step"),
    "ranks of shards not counted": Mutant(
        "layouts/fsdp.py", "max([world, *(int(match[1]) + 1 for match in shards if match)])", "world",
        "tests/layouts/test_judged.py::test_each_is_found_with_its_layout_and_step"),
    "zeros of a page no tail": Mutant(
        "formats/zero_tail.py", "if lost < PAGE_BYTES", "if lost <= PAGE_BYTES",
        "tests/formats/test_zero_tail.py::test_zeros_are_a_lost_tail_from_one_whole_page_on", often=True),
    "any codec called": Mutant(
        "formats/known_globals.py", 'return len(names) == 2 and names[1] == "latin1"', "return len(names) == 2",
        "tests/formats/test_pickles.py::test_bypass_is_refused"),
    "attributes of a global set": Mutant(
        "formats/pickle_machine.py",
        "if type(target := self.top()) in (Global, Persistent):", "if type(target := self.top()) in ():",
        "tests/formats/test_pickles.py::test_bypass_is_refused"),
    "what a call returned is called": Mutant(
        "formats/pickle_machine.py",
        "        if not name:\n            self.unsure", "        if False:\n            self.unsure",
        "tests/formats/test_pickles.py::test_bypass_is_refused"),
    "hole between tensors": Mutant(
        "formats/safetensors.py", "tensor.begin != expected or", "tensor.begin < expected or",
        "tests/formats/test_safetensors.py::test_damage"),
    "bytes after the archive's end": Mutant(
        "formats/torch_zip.py", "    if at + END.size + comment != len(tail):\n", "    if False:\n",
        "tests/formats/test_torch_zip.py::test_a_byte_behind_the_end_is_noticed"),
    "two ends of an archive": Mutant(
        "formats/torch_zip.py", 'return large if fields[0] == b"PK\\x06\\x06" and agree else None', "return large",
        "tests/formats/test_torch_zip.py::test_archive_whose_two_ends_name_two_directories_is_not_whole"),
    "metrics of another step": Mutant(
        "formats/trainer_state.py", 'if line["step"] == step]', "]",
        "tests/formats/test_trainer_state.py::test_metric_belongs_to_the_step_that_it_was_measured_at"),
    "log beyond its step": Mutant(
        "formats/trainer_state.py", "    if last > step:\n", "    if False:\n",
        "tests/formats/test_trainer_state.py::test_log_that_goes_beyond_the_step_is_of_another_save"),
    "replaced without fsync": Mutant(
        "system/small_files.py", "                os.fsync(fd)\n", "                pass\n",
        "tests/system/test_small_files.py::test_bytes_are_durable_before_the_name_is_theirs", often=True),
    "read-write file emptied": Mutant(
        "system/unlinked.py", "os.O_ACCMODE == os.O_WRONLY", "os.O_ACCMODE != os.O_WRONLY",
        "tests/system/test_disk_processes.py::"
        "test_only_a_file_that_nobody_reads_back_is_emptied_under_its_process", often=True),
    "lock shared": Mutant(
        "system/lock.py", "fcntl.LOCK_EX |", "fcntl.LOCK_SH |",
        "tests/system/test_lock.py::test_holder_is_named_and_waiting_ends_on_time"),
    "child keeps the lock": Mutant(
        "system/lock.py", "    while _held:\n        os.close(_held.pop())\n", "    _held.clear()\n",
        "tests/system/test_lock.py::test_forked_child_that_outlives_a_killed_holder_does_not_keep_the_lock"),
    "mount with a space": Mutant(
        "system/volumes.py", 'mount = _unescape(left.split(" ")[4])', 'mount = left.split(" ")[4]',
        "tests/system/test_disk.py::test_mount_point_of_any_name_is_found"),
    "root's reserve available": Mutant(
        "system/volumes.py", "return status.f_bavail * status.f_frsize", "return status.f_bfree * status.f_frsize",
        "tests/system/test_disk.py::test_volume_is_what_df_says"),
    "soft limit of a quota": Mutant(
        "system/quota.py", "limit = (hard or soft) * BLOCK_BYTES", "limit = (soft or hard) * BLOCK_BYTES",
        "tests/system/test_disk_quota.py::test_quota_is_read_and_its_flags_follow_its_use"),
    "symlink opened": Mutant(
        "system/small_files.py", "(0 if follow else os.O_NOFOLLOW)", "0",
        "tests/system/test_small_files.py::test_a_link_is_followed_only_where_a_person_may_have_meant_it"),
    "special file read": Mutant(
        "system/small_files.py", "if len(raw) > largest:", "if False:",
        "tests/system/test_small_files.py::test_more_bytes_than_anybody_writes_are_refused"),
    "another directory of its name goes": Mutant(
        "delete/checkpoint.py",
        "not kind(status.st_mode) or (status.st_dev, status.st_ino) != (checkpoint.device, checkpoint.inode)",
        "not kind(status.st_mode)",
        "tests/ops/test_ops.py::test_checkpoint_replaced_after_the_plan_is_left_alone"),
    "name not given back": Mutant(
        "delete/checkpoint.py",
        "    if failures and not removal.removed:\n        return _give", "    if False:\n        return _give",
        "tests/delete/test_delete.py::test_one_whose_every_file_refuses_gets_its_name_back_whole"),
    "times of a copy lost": Mutant(
        "store/local.py", "    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))\n", "",
        "tests/store/test_local.py::test_a_copy_has_bytes_times_and_links_and_each_file_its_sha_256"),
    "mount within copied": Mutant(
        "store/local.py", " if s.st_dev == device or not stat.S_ISDIR(s.st_mode)]", "]",
        "tests/store/test_local.py::test_another_file_system_that_is_mounted_inside_is_left_out"),
    "copy that broke off taken for whole": Mutant(
        "store/local.py",
        "(existing.st_size, existing.st_mtime_ns) == (\n            "
        "status.st_size,\n            status.st_mtime_ns,\n        )",
        "existing.st_size == status.st_size",
        "tests/store/test_local.py::test_a_second_call_copies_what_is_not_whole_and_nothing_else"),
    "page may load anything": Mutant(
        "render/page.html.j2", "default-src 'none'", "default-src *",
        "tests/render/test_html.py::test_page_needs_nothing_else_and_no_name_becomes_markup"),
    "holder not told": Mutant(
        "render/text.py", '(f"; held by {printable(f.held_by)}" if f.held_by else "")', '""',
        "tests/render/test_text.py::test_failure_names_the_file_the_fault_and_who_holds_it_and_no_control_code"),
    "refused one called intact": Mutant(
        "render/text.py", '"intact, refused" if verdict.refused else "intact"', '"intact"',
        "tests/render/test_text.py::test_verdict_says_what_keeps_an_intact_one_from_being_resumed_from"),
    "gauge is full too early": Mutant(
        "render/board.py", "round(share * blocks)", "round(share * blocks + 0.5)",
        "tests/render/test_board.py::test_gauge_is_as_full_as_the_share"),
    "system directory swept": Mutant(
        "runs/discover.py", '"/root", "/tmp",', '"/root",',
        "tests/runs/test_discover.py::test_system_and_home_directories_are_refused_by_any_name"),
    "blocks counted double": Mutant(
        "runs/discover.py", "BLOCK_BYTES = 512", "BLOCK_BYTES = 1024",
        "tests/runs/test_discover.py::test_allocated_bytes_are_what_find_counts"),
    "tracker's number ignored": Mutant(
        "runs/trackers.py", "return int(text) == step", "return False",
        "tests/runs/test_trackers.py::test_a_file_names_a_checkpoint_by_its_step_or_its_path_and_nothing_else"),
    "future date is busy": Mutant(
        "verify/verdict.py", "    if checkpoint.modified_at < now + quiet:\n", "    if True:\n",
        "tests/verify/test_verdict.py::"
        "test_torn_one_is_being_written_only_if_it_is_young_and_not_if_the_clock_was_set_back_since"),
    "unknown beside damage": Mutant(
        "verify/verdict.py", "    if codes & UNJUDGED:\n", "    if codes <= UNJUDGED:\n",
        "tests/verify/test_evidence.py::test_whole_weights_beside_what_the_trainer_never_writes_stay"),
    "longer shard is whole": Mutant(
        "verify/sharded.py",
        "sizes.get(folder + name) != shards.size(name)", "(sizes.get(folder + name) or 0) < shards.size(name)",
        "tests/layouts/test_layouts_bad_input.py::test_a_shard_of_another_size_than_its_index_says_is_corrupt"),
    "digests not compared": Mutant(
        "verify/manifest.py", "        if actual != digest:\n", "        if False:\n",
        "tests/verify/test_manifest.py::"
        "test_a_changed_file_that_a_resume_loads_is_corrupt_and_both_digests_are_told"),
    "manifest touches its directory": Mutant(
        "verify/manifest.py", "        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))\n", "",
        "tests/verify/test_manifest.py::test_writing_it_changes_no_time_that_a_rotation_sorts_by"),
    "history without bound": Mutant(
        "history/records.py", "if _pages(db) > PAGES * 0.9:", "if False:",
        "tests/history/test_history.py::test_file_stays_bounded_whatever_is_written"),
    "lost record told each time": Mutant(
        "history/records.py", "    if fault in _told:\n", "    if False:\n",
        "tests/history/test_history.py::test_other_programs_and_later_versions_file_stays_as_it_is"),
    "another path's memory": Mutant(
        "history/remembered.py", " and known.get(key) == path", " and key in known",
        "tests/history/test_remembered.py::test_a_file_whose_name_collides_speaks_for_its_own_path_alone"),
    "room of another policy": Mutant(
        "history/remembered.py", "int(count) if waits == _plain(policy) else 0", "int(count)",
        "tests/history/test_remembered.py::test_what_went_for_room_is_counted_for_the_policy_that_waits_alone"),
    "file: is an address": Mutant(
        "notify/webhook.py", 'not url.startswith(("http://", "https://")) or ', "",
        "tests/notify/test_sinks.py::test_addresses_that_are_none_are_refused"),
    "collector can't read": Mutant(
        "notify/prometheus.py", "mode=0o644", "mode=0o600",
        "tests/notify/test_sinks.py::test_prom_file_is_replaced_whole_and_readable_by_all"),
    "children of a command left": Mutant(
        "notify/command.py", "os.killpg(process.pid", "os.kill(process.pid",
        "tests/notify/test_sinks.py::test_command_that_hangs_is_ended_with_all_that_it_started"),
    "comment taken for a sweep": Mutant(
        "schedulers/crontab.py", ' if not line.lstrip().startswith("#"))', ")",
        "tests/schedulers/test_crontab_text.py::test_whether_a_crontab_prunes_a_run"),
    "neighbour's directory is below": Mutant(
        "schedulers/crontab.py", '(run + "/").startswith(root.rstrip("/") + "/")', 'run.startswith(root.rstrip("/"))',
        "tests/schedulers/test_crontab_text.py::test_whether_a_crontab_prunes_a_run"),
    "last line of a crontab joined": Mutant(
        "schedulers/crontab.py", '("\\n" if text and not text.endswith("\\n") else "")', '""',
        "tests/schedulers/test_crontab_text.py::test_a_last_line_without_its_end_is_ended_first"),
    "share of nothing": Mutant(
        "config.py", "max(1, int(target * volume_bytes))", "int(target * volume_bytes)",
        "tests/policy/test_rules.py::test_share_of_a_volume_that_tells_no_size_is_still_a_target"),
    "file beats environment": Mutant(
        "config.py",
        "    settings.update(_from_environment(environ))\n", "    settings = _from_environment(environ) | settings\n",
        "tests/policy/test_policy.py::test_flags_beat_environment_beats_file_beats_default"),
    "any package trusted": Mutant(
        "config.py", '"*" in parts[0] or ', "",
        "tests/policy/test_rules.py::test_pattern_that_would_trust_too_much_or_nothing_is_refused"),
    "pinned one set aside": Mutant(
        "ops/discard.py", "        if name in pins.read(run):\n", "        if False:\n",
        "tests/ops/test_set_aside.py::test_a_pinned_one_is_refused_with_what_to_type"),
    "only intact one discarded": Mutant(
        "ops/discard.py", "    if verdict.intact and not any(j.verdict.intact for j in others):\n", "    if False:\n",
        "tests/ops/test_discard.py::test_the_only_intact_one_never_goes"),
    "resume takes a refused one": Mutant(
        "ops/latest.py", " and not chosen.verdict.refused\n", "\n",
        "tests/policy/test_lineage.py::test_latest_skips_what_a_resume_refuses_and_says_what_it_names"),
    "intact ones go first": Mutant(
        "ops/execute.py", "key=lambda d: d.verdict.intact)", "key=lambda d: not d.verdict.intact)",
        "tests/ops/test_ops.py::test_damaged_ones_go_before_intact_ones_whatever_their_order"),
    "stripped without a yes": Mutant(
        "ops/strip.py", "    if yes or only or keep or going <= most:\n", "    if True:\n",
        "tests/ops/test_strip.py::test_more_than_half_goes_only_when_asked_for"),
    "torch's words unknown": Mutant(
        "guard/storage_errors.py", "or (isinstance(link, Exception) and WORDS.search(str(link)) is not None)", "",
        "tests/guard/test_storage_errors.py::test_what_the_disk_says_is_the_disks_also_behind_another_error"),
    "one moment of Adam": Mutant(
        "guard/save_size.py", "ADAM_BYTES = 2 * 4", "ADAM_BYTES = 4",
        "tests/guard/test_guard_forecast.py::"
        "test_before_its_first_step_an_optimizer_is_taken_for_one_that_keeps_two_moments_of_what_is_trained"),
    "first fault forgotten": Mutant(
        "cli/acting.py", "return next(filter(None, codes), 0)", "return codes[-1]",
        "tests/cli/test_cli.py::test_one_bad_run_does_not_keep_the_others_from_being_pruned"),
    "nothing was meant": Mutant(
        "cli/suggest.py", "cutoff=0.6", "cutoff=0.99",
        "tests/cli/test_help.py::test_typo_is_one_line_that_names_what_was_meant_and_nothing_is_changed"),
    "zero saves are some": Mutant(
        "units.py", "    if fit < 0.05:\n", "    if fit < 0:\n",
        "tests/test_units.py::test_value_is_shown_as"),
    "one is plural": Mutant(
        "units.py", 'f"{number} {noun}" if number == 1 else', "",
        "tests/test_units.py::test_one_is_no_plural"),
    "1000.0 MB": Mutant(
        "units.py", ">= 999.95", ">= 1000",
        "tests/test_units.py::test_value_is_shown_as"),
    "99.9 percent is full": Mutant(
        "units.py", "0.995 <= share < 1 else", "0.995 <= share < 0 else",
        "tests/test_units.py::test_value_is_shown_as"),
    "relative path in a log": Mutant(
        "calling.py", "(words if typed else map(_rooted, words))", "words",
        "tests/test_calling.py::test_from_python_a_relative_path_is_told_in_full_and_other_words_stay"),
    "True is a number": Mutant(
        "arguments.py",
        "if isinstance(value, bool) or not isinstance(value, int) or value < least:",
        "if not isinstance(value, int) or value < least:",
        "tests/policy/test_rules.py::test_value_refuses_nonsense_in_one_line_with_the_arguments_name"),
    "text is a yes": Mutant(
        "arguments.py", "    if not isinstance(value, bool):\n", "    if value is None:\n",
        "tests/test_api.py::test_switch_is_true_or_false_itself"),
    "mass deletion is success": Mutant(
        "errors.py", "exit_code = 25", "exit_code = 0",
        "tests/cli/test_cli.py::test_mass_deletion_stops_with_25_and_yes_lets_it_through"),
    "reserve counts as used": Mutant(
        "model/disk.py", "usable = self.total_bytes - self.reserved_bytes", "usable = self.total_bytes",
        "tests/system/test_disk.py::test_volume_is_what_df_says"),
    "damaged is incomplete alone": Mutant(
        "model/checkpoint.py", 'return self.state in ("incomplete", "corrupt")', 'return self.state == "incomplete"',
        "tests/policy/test_policy.py::"
        "test_damaged_one_of_the_highest_step_stays_for_as_long_as_a_training_works_in_its_run"),
    "rules and more": Mutant(
        "api_arguments.py", "    if both:\n", "    if False:\n",
        "tests/test_api.py::test_rules_and_single_rules_are_not_both_taken"),
}  # fmt: skip
