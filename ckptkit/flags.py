"""PURE: what a person should know about a volume, a run or a box, and the command that mends it.

A volume wants to stay below 60 % and is critical at 90 %; a checkpoint that is half as large again as its siblings
holds something that it should not.
"""

import shlex
from collections.abc import Iterator, Sequence
from statistics import median

from ckptkit import thresholds
from ckptkit.advice import Flag
from ckptkit.box import Cache, Eaters, OpenDeleted, Quota, Trail, Training
from ckptkit.calling import absolutely, command
from ckptkit.model import Plan, Volume
from ckptkit.policy import Rules, first_finding

NOTICED, WARM, HOT, CRITICAL = 0.50, 0.60, 0.80, 0.90  # of a volume's bytes or inodes
OUTLIER = 1.5  # times the median size of the run's checkpoints
OPEN_DELETED_BYTES = 10**9  # held by processes, on one volume
CACHES = 0.05  # of a volume
FULL_SOON, FULL_IN_SIGHT = 86_400, 7 * 86_400  # seconds until the volume is full, as it grows now
SILENT_SECONDS = 900  # a training logs every few steps; its log should not stand still for longer
LOST = ("overlay", "aufs")  # a container's own root
MEMORY = ("tmpfs", "ramfs")


def of_volume(volume: Volume) -> Iterator[Flag]:
    """Given a volume, yield its flags."""
    look = command("diskreport", volume.mount)
    if volume.read_only:
        yield Flag("red", "read-only", f"{volume.mount} is mounted read-only: no save can succeed", "dmesg | tail -30")
    yield _used(volume.used_fraction, volume.mount, "volume", "used", look)
    if volume.total_inodes:
        find = f"du --inodes -x --max-depth=2 {shlex.quote(volume.mount)} | sort -n | tail -20"
        yield _used(volume.inodes_used_fraction, volume.mount, "inodes", "of its inodes used", find)


def _used(fraction: float, mount: str, code: str, words: str, command: str) -> Flag:
    message = f"{mount}: {fraction:.0%} {words}"
    if fraction > CRITICAL:
        return Flag("red", f"{code}-critical", f"{message}, above {CRITICAL:.0%}: the next save may fail", command)
    if fraction > HOT:
        return Flag("yellow", f"{code}-high", f"{message}, above {HOT:.0%}: make room before the next save", command)
    if fraction > WARM:
        return Flag("yellow", f"{code}-filling", f"{message}, above {WARM:.0%}", command)
    if fraction > NOTICED:
        return Flag("green", f"{code}-noticed", f"{message}, above {NOTICED:.0%}: watch it")
    return Flag("green", f"{code}-ok", message)


def of_quota(quota: Quota) -> Iterator[Flag]:
    """Given a quota on a volume, yield its flags; none where there is no limit."""
    for used, limit, code, words in (
        (quota.used_bytes, quota.limit_bytes, "quota", f"of {quota.whose}'s quota used"),
        (quota.used_inodes, quota.limit_inodes, "quota-inodes", f"of {quota.whose}'s quota of files used"),
    ):
        if limit:
            yield _used(used / limit, quota.mount, code, words, command("diskreport", quota.mount))


def of_place(run: str, volume: Volume) -> Iterator[Flag]:
    """Given a run and the volume it lies on, yield a flag if it will not outlast its machine."""
    if volume.filesystem in LOST:
        told = f"{run} lies in the container's own file system: it is gone when the container is removed"
    elif volume.filesystem in MEMORY:
        told = f"{run} lies in memory ({volume.filesystem}): it is gone after a restart"
    else:
        return
    yield Flag("yellow", "not-durable", told, "df -h   # take another volume as output_dir")


def of_eaters(found: Eaters) -> Iterator[Flag]:
    """Given who eats a volume, yield what the walk could not see."""
    if found.unreadable:
        told = f"{found.root}: {found.unreadable} directories could not be read, such as {found.first_unreadable}"
        yield Flag("yellow", "unreadable", told, f"sudo {absolutely('diskreport', found.root)}")
    if found.unfinished:
        told = f"{found.root}: not all was walked in time; what is listed is a part"
        yield Flag("yellow", "unfinished", told, f"du -xh --max-depth=2 {shlex.quote(found.root)} | sort -h | tail -20")


def of_caches(caches: Sequence[Cache], volumes: Sequence[Volume]) -> Iterator[Flag]:
    """Given what libraries and torn saves left, yield a flag a volume where it takes too much."""
    for volume in volumes:
        here = [cache for cache in caches if cache.mount == volume.mount]
        # A broken-off download lies inside its repository.
        size = sum(cache.allocated_bytes for cache in here if cache.kind != "hf-hub-incomplete")
        if size > CACHES * volume.total_bytes:
            told = f"{volume.mount}: caches take {size / volume.total_bytes:.0%} of it, most of all {here[0].path}"
            yield Flag("yellow", "caches", told, here[0].command)
    for cache in caches:
        if cache.kind in ("torn-save", "core-dump"):
            yield Flag("yellow", cache.kind, f"{cache.path}: {cache.note}", cache.command)


def of_open_deleted(files: Sequence[OpenDeleted], volumes: Sequence[Volume]) -> Iterator[Flag]:
    """Given deleted files that processes hold, yield a flag a volume where they take too much."""
    for volume in volumes:
        here = [file for file in files if file.mount == volume.mount]
        size = sum(file.allocated_bytes for file in here)
        if size > OPEN_DELETED_BYTES:
            most = here[0]
            told = f"{volume.mount}: files deleted but open hold {size / 1e9:.1f} GB, most of all {most.path}"
            yield Flag("yellow", "open-deleted", f"{told} by {most.process} (pid {most.pid})", most.command)


def of_training(found: Training, now: float) -> Iterator[Flag]:
    """Given a live training, yield that it lives and what threatens it. now: to tell a silent log."""
    who = f"{found.process} (pid {found.pid})"
    where = f" into {found.run}" if found.run else ""
    yield Flag("green", "training", f"{who} trains{where}{f', {found.guard}' if found.guard else ''}")
    keep = "tmux new -s train   # start the next one in it"
    if found.session_lost:
        yield Flag("yellow", "session-lost", f"{who} lives on, but the session it began in is gone", keep)
    elif found.session == "terminal":
        yield Flag("yellow", "on-terminal", f"{who} hangs on a terminal: it ends when the connection drops", keep)
    if found.log_deleted:
        command = f"cp /proc/{found.pid}/fd/1 train.log"
        yield Flag("yellow", "log-deleted", f"{who} writes into {found.log}, which was deleted", command)
    elif found.log_written_at is not None and now - found.log_written_at > SILENT_SECONDS:
        minutes = (now - found.log_written_at) / 60
        told = f"{who} wrote nothing into {found.log} for {minutes:.0f} min: it may hang"
        yield Flag("yellow", "log-silent", told, f"tail {shlex.quote(found.log)}; py-spy dump --pid {found.pid}")


def of_trail(trail: Trail, now: float) -> Iterator[Flag]:
    """Given the last day of a volume or a run, yield what it is heading for, or that it stands well."""
    if trail.run:
        yield from _full_in_sight(trail, now)
        return
    look = command("diskreport", trail.mount)
    rate = thresholds.growth(trail.samples)
    if rate is not None and rate > thresholds.GROWTH:
        told = f"{trail.mount} grew by {rate / 1e9:.1f} GB an hour, more than {thresholds.GROWTH / 1e9:.0f}"
        yield Flag("yellow", "fast-growth", told, look)
    between = thresholds.steady(trail.samples)
    if between is not None and thresholds.is_healthy(*between):
        yield Flag("green", "stable", f"{trail.mount}: stable at {between[0]:.0%} to {between[1]:.0%}")


def _full_in_sight(trail: Trail, now: float) -> Iterator[Flag]:
    if trail.outlook is None or trail.outlook.full_at is None:
        return
    left = trail.outlook.full_at - now
    if left < FULL_IN_SIGHT:
        step = f", at step {trail.outlook.full_step}" if trail.outlook.full_step is not None else ""
        told = f"{trail.run}: {trail.mount} is full in {max(0.0, left) / 3600:.1f} h{step}, as it grows now"
        fix = command("prune", trail.run, "--dry-run")
        yield Flag("red" if left < FULL_SOON else "yellow", "growth", told, fix)


def of_run(plan: Plan, rules: Rules) -> Iterator[Flag]:
    """Given what prune would do to a run and by which rules, yield the run's flags."""
    yield from _torn(plan)
    yield from _too_many(plan, rules)
    yield from _outliers(plan)
    if plan.leftovers:
        names = ", ".join(leftover.name for leftover in plan.leftovers)
        yield Flag("yellow", "leftovers", f"{plan.run}: a killed sweep left {names}", _prune(plan))
    if plan.intact:
        newest = plan.intact[-1].checkpoint
        yield Flag("green", "intact", f"{plan.run}: {len(plan.intact)} intact, the newest at step {newest.step}")
    elif plan.decisions:
        yield Flag(
            "red",
            "no-intact",
            f"{plan.run}: no intact checkpoint, so a restart has nothing to go on from",
            _verify(plan),
        )


def _torn(plan: Plan) -> Iterator[Flag]:
    for decision in plan.decisions:
        if decision.verdict.damaged:
            told = f"{decision.checkpoint.path} is {decision.verdict.state}: {first_finding(decision)}"
            command = _prune(plan) if decision.action == "delete" else _verify(plan)
            yield Flag("red", decision.verdict.state, told, command)
        elif decision.verdict.state == "unknown":
            yield Flag(
                "yellow",
                "unknown",
                f"{decision.checkpoint.path} can't be judged: {first_finding(decision)}",
                _verify(plan),
            )


def _too_many(plan: Plan, rules: Rules) -> Iterator[Flag]:
    going = sum(decision.verdict.intact for decision in plan.deletions)
    if going:
        policy = f"more than the policy keeps (keep-last {rules.keep_last})"
        told = f"{plan.run}: {len(plan.intact)} intact checkpoints, {going} {policy}"
        yield Flag("red", "too-many", told, _prune(plan))


def _outliers(plan: Plan) -> Iterator[Flag]:
    for resumable in (True, False):  # a stripped one is a third of its siblings, and right so
        alike = [d.checkpoint for d in plan.intact if d.verdict.resumable == resumable]
        usual = median(checkpoint.apparent_bytes for checkpoint in alike) if len(alike) >= 3 else 0
        for checkpoint in alike if usual else ():
            if checkpoint.apparent_bytes > OUTLIER * usual:
                told = f"{checkpoint.path} is {checkpoint.apparent_bytes / usual:.1f} times the median size"
                yield Flag("yellow", "outlier", told, f"ls -laS {shlex.quote(checkpoint.path)}")


def _prune(plan: Plan) -> str:
    return command("prune", plan.run, "--dry-run")


def _verify(plan: Plan) -> str:
    return command("verify", plan.run)
