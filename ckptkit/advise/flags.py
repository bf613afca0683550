"""PURE: what a person should know about a volume, a run or a box, and the command that fixes it.

A volume wants to stay below 60 % and is critical at 90 %; a checkpoint that is half as large again as its siblings
holds something that it should not.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from ckptkit.advise import levels
from ckptkit.calling import absolutely, command, pip_install
from ckptkit.model import thresholds
from ckptkit.model.advice import Flag
from ckptkit.model.decision import PrunePlan
from ckptkit.model.disk import Cache, Eaters, OpenDeleted, Quota, Training, Volume
from ckptkit.model.report import Trail
from ckptkit.policy.keep import Rules, first_finding
from ckptkit.units import age, count, human, percent

NAMED = 10  # leftovers in a message
LOST = ("overlay", "aufs")  # a container's own root
MEMORY = ("tmpfs", "ramfs")


def of_volume(volume: Volume, fix: str = "") -> Iterator[Flag]:
    """Given a volume, yield its flags. fix: the command that makes room, default: the report that looks for one."""
    look = fix or command("diskreport", volume.mount)
    if volume.read_only:
        yield Flag("red", "read-only", f"{volume.mount} is mounted read-only: no save can succeed", "dmesg | tail -30")
    yield _used(volume.used_fraction, f"{volume.mount} is", "volume", "used", look)
    if volume.total_inodes:
        find = f"du --inodes -x --max-depth=2 {shlex.quote(volume.mount)} | sort -n | tail -20"
        used = volume.inodes_used_fraction
        yield _used(used, f"{volume.mount} has", "inodes", "of its inodes used (one for each file)", find)


def _used(fraction: float, what: str, code: str, words: str, command: str) -> Flag:
    message, rung = f"{what} {percent(fraction)} {words}", thresholds.rung_of(fraction, thresholds.USED)
    if rung is None:
        return Flag("green", f"{code}-ok", message)
    return Flag(rung.level, f"{code}-{rung.name}", f"{message}: {rung.words}", "" if rung.level == "green" else command)


def of_quota(quota: Quota) -> Iterator[Flag]:
    """Given a quota on a volume, yield its flags; none where there is no limit."""
    for used, limit, code, words in (
        (quota.used_bytes, quota.limit_bytes, "quota", f"of {quota.whose}'s quota is used"),
        (quota.used_inodes, quota.limit_inodes, "quota-inodes", f"of {quota.whose}'s quota of files is used"),
    ):
        if limit:
            yield _used(used / limit, f"{quota.mount}:", code, words, command("diskreport", quota.mount))


def of_place(run: str, volume: Volume) -> Iterator[Flag]:
    """Given a run and the volume it lies on, yield a flag if it will not outlast its machine."""
    if volume.filesystem in LOST:
        place = "the container's own file system: it is lost when the container is removed"
    elif volume.filesystem in MEMORY:
        place = f"memory ({volume.filesystem}): it is lost at the next restart"
    else:
        return
    message = f"{run} is in {place}; use another volume as output_dir"
    yield Flag("yellow", "not-durable", message, "df -H")


def of_eaters(eaters: Eaters) -> Iterator[Flag]:
    """Given who eats a volume, yield what the walk could not see."""
    if eaters.unreadable:
        number = "1 directory" if eaters.unreadable == 1 else f"{eaters.unreadable:,} directories"
        message = f"{eaters.root}: {number} could not be read, such as {eaters.first_unreadable}"
        yield Flag("yellow", "unreadable", message, f"sudo {absolutely('diskreport', eaters.root)}")
    if eaters.unfinished:
        message = f"{eaters.root}: the time ran out before all was counted; the list is not complete"
        whole = f"du -xh --max-depth=2 {shlex.quote(eaters.root)} | sort -h | tail -20"
        yield Flag("yellow", "unfinished", message, whole)


def of_caches(caches: Sequence[Cache], volumes: Sequence[Volume]) -> Iterator[Flag]:
    """Given what libraries and torn saves left, yield a flag a volume where it takes too much."""
    for volume in volumes:
        here = [cache for cache in caches if cache.mount == volume.mount]
        # A broken-off download lies inside its repository.
        size = sum(cache.allocated_bytes for cache in here if cache.kind != "hf-hub-incomplete")
        if size > thresholds.CACHES_SHARE * volume.total_bytes:
            share = f"{human(size)}, {percent(size / volume.total_bytes)} of it"
            message = f"{volume.mount}: caches take {share}, most of it {here[0].path}"
            yield Flag("yellow", "caches", message, here[0].command)
    for cache in caches:
        if cache.kind in ("torn-save", "core-dump"):
            yield Flag("yellow", cache.kind, f"{cache.path}: {cache.note}", cache.command)


def of_open_deleted(files: Sequence[OpenDeleted], volumes: Sequence[Volume]) -> Iterator[Flag]:
    """Given deleted files that processes hold, yield a flag a volume where they take too much."""
    for volume in volumes:
        here = [file for file in files if file.mount == volume.mount]
        size = sum(file.allocated_bytes for file in here)
        if size > min(thresholds.OPEN_DELETED_BYTES, thresholds.OPEN_DELETED_SHARE * volume.total_bytes):
            most = here[0]
            held = f"the largest is {most.path}, held by {most.process} (pid {most.pid})"
            message = f"{volume.mount}: deleted files that are still open take {human(size)}; {held}"
            yield Flag("yellow", "open-deleted", message, most.command)


def of_training(training: Training, now: float) -> Iterator[Flag]:
    """Given a live training, yield that it lives and what threatens it. now: to tell a silent log."""
    who = f"{training.process} (pid {training.pid})"
    where = f" in {training.run}" if training.run else ""
    yield Flag("green", "training", f"{who} is training{where}{f', {training.guard}' if training.guard else ''}")
    if training.session_lost:
        message = (
            f"{who} still runs, but the tmux or screen that it started in is gone; start the next one in a new one"
        )
        yield Flag("yellow", "session-lost", message, "tmux new -s train")
    elif training.session == "terminal":
        message = f"{who} ends when its terminal or the connection closes; start the next one in tmux"
        yield Flag("yellow", "on-terminal", message, "tmux new -s train")
    if training.log_deleted:
        copy = f"cp /proc/{training.pid}/fd/1 train.log"
        yield Flag("yellow", "log-deleted", f"{who} writes to {training.log}, which was deleted; copy it", copy)
    elif training.log_written_at is not None and now - training.log_written_at > thresholds.SILENT_LOG_SECONDS:
        message = f"{who} has written nothing to {training.log} for {age(now - training.log_written_at)}: it may hang"
        yield Flag(
            "yellow", "log-silent", message, f"tail {shlex.quote(training.log)}; py-spy dump --pid {training.pid}"
        )


def of_missing(left_out: Mapping[str, str]) -> Iterator[Flag]:
    """Given {Python package that is not installed: what is left out without it}, yield that it is not shown."""
    if left_out:
        message = f"not shown: {' and '.join(left_out.values())}; {' and '.join(left_out)} not installed"
        yield Flag("yellow", "not-installed", message, pip_install(*left_out))


def of_trail(trail: Trail, now: float) -> Iterator[Flag]:
    """Given the last day of a volume or a run, yield what it is heading for, or that all is well."""
    if trail.run:
        yield from _full_in_sight(trail, now)
        return
    look = command("diskreport", trail.mount)
    rate = levels.growth(trail.samples)
    if rate is not None and rate > thresholds.GROWTH_BYTES:
        limit = f"more than {human(thresholds.GROWTH_BYTES)}"
        yield Flag("yellow", "fast-growth", f"{trail.mount} grew by {human(rate)} in the last hour, {limit}", look)
    between = levels.steady(trail.samples)
    if between is not None and levels.is_healthy(*between):
        used = f"{percent(between[0])} to {percent(between[1])} used"
        yield Flag("green", "stable", f"{trail.mount} is stable: {used}")


def _full_in_sight(trail: Trail, now: float) -> Iterator[Flag]:
    if trail.outlook is None or trail.outlook.full_at is None:
        return
    left = trail.outlook.full_at - now
    rung = thresholds.rung_of(-left, thresholds.FULL)
    if rung:
        step = f", at step {trail.outlook.full_step:,}" if trail.outlook.full_step is not None else ""
        when = "is full now" if left <= 0 else f"will be full in {age(left)}{step}, if it grows as it does now"
        fix = command("prune", trail.run, "--dry-run")
        yield Flag(rung.level, "growth", f"{trail.run}: {trail.mount} {when}", fix)


def of_run(plan: PrunePlan, rules: Rules) -> Iterator[Flag]:
    """Given what prune would do to a run and by which rules, yield the run's flags."""
    yield from _torn(plan)
    yield from _too_many(plan, rules)
    yield from _outliers(plan)
    if plan.leftovers:
        names = ", ".join(leftover.name for leftover in plan.leftovers[:NAMED])
        more = f" and {len(plan.leftovers) - NAMED} more" if len(plan.leftovers) > NAMED else ""
        message = f"{plan.run}: prune was killed and left {names}{more}"
        yield Flag("yellow", "leftovers", message, _prune(plan))
    if plan.intact:
        newest = plan.intact[-1].checkpoint
        number = count(len(plan.intact), "intact checkpoint")
        yield Flag("green", "intact", f"{plan.run}: {number}, the newest at step {newest.step:,}")
    elif plan.decisions:
        message = f"{plan.run}: no checkpoint is intact, so training can't resume"
        yield Flag("red", "no-intact", message, _verify(plan))


def _torn(plan: PrunePlan) -> Iterator[Flag]:
    for decision in plan.decisions:
        if decision.verdict.damaged:
            message = f"{decision.checkpoint.path} is {decision.verdict.state}: {first_finding(decision)}"
            fix = _prune(plan) if decision.action == "delete" else _verify(plan)
            yield Flag("red", decision.verdict.state, message, fix)
        elif decision.verdict.state == "unknown":
            message = f"{decision.checkpoint.path} can't be judged: {first_finding(decision)}"
            yield Flag("yellow", "unknown", message, _verify(plan))


def _too_many(plan: PrunePlan, rules: Rules) -> Iterator[Flag]:
    too_many = sum(decision.verdict.intact for decision in plan.deletions)
    if too_many:
        more = f"{too_many} more than the rules keep (keep-last {rules.keep_last})"
        yield Flag("red", "too-many", f"{plan.run}: {len(plan.intact)} intact checkpoints, {more}", _prune(plan))


def _outliers(plan: PrunePlan) -> Iterator[Flag]:
    for resumable in (True, False):  # a stripped one is a third of its siblings, and right so
        alike = [d.checkpoint for d in plan.intact if d.verdict.resumable == resumable]
        usual = median(checkpoint.apparent_bytes for checkpoint in alike) if len(alike) >= 3 else 0
        for checkpoint in alike if usual else ():
            if checkpoint.apparent_bytes > thresholds.OUTLIER_TIMES * usual:
                times = f"{checkpoint.apparent_bytes / usual:.1f} times as large as the others"
                message = f"{checkpoint.path} is {human(checkpoint.apparent_bytes)}, {times}: see what else is in it"
                yield Flag("yellow", "outlier", message, f"ls -laS {shlex.quote(checkpoint.path)}")


def _prune(plan: PrunePlan) -> str:
    return command("prune", plan.run, "--dry-run")


def _verify(plan: PrunePlan) -> str:
    return command("verify", plan.run)
