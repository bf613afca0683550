"""PURE: go or no-go before a training (re)starts. Each check is one function of what was measured."""

from __future__ import annotations

import shlex

from ckptkit.advice import Check, Cleanup, Script
from ckptkit.calling import command
from ckptkit.events import Outlook
from ckptkit.forecast import going_on, next_save_bytes
from ckptkit.forecast.name_order import first_swap
from ckptkit.model import Plan, Volume
from ckptkit.tuples import NamedTuple
from ckptkit.units import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

CRITICAL = 0.90
FEWEST_INODES = 200  # a save makes about a dozen files
CLOCK_SECONDS = 120.0
MOST_PLACES = 10  # of one script
CHOOSES = {
    "listing": "in the order in which the disk lists them, which is any: it may delete the newest",
    "times": "by the time of their last change",
    "numbers": "by their steps",
    "other": "by an order of its own",
    "all": "whatever their order",
}
BESIDE = "beside the guard it is a second rotation, which does not know which ones are intact, pinned or the best"


class Facts(NamedTuple):
    """What was measured before the start. Bytes, seconds since the epoch, texts for a person.

    newest: path of the checkpoint that a resume takes, or None; why_none: the reason, "" if the run is new.
    skipped: of each newer intact one that a resume does not take, its name and why.
    unknown: of each that can't be judged and is newer, why, how large and how old. skip_unknown: go on without them.
    settings: of the training that will start, None if not known; origin: where from. scripts: of its own, looked at.
    probe: why a file could not be written and deleted, "" if it could (None: not tried).
    trainings: a sentence for each other process that is at work on the run.
    watcher: who looks after it (cron, a monitor), or "". above: the directory that `cron --install` takes, or "".
    session: what keeps a training alive after the line drops (tmux, screen, nohup), or "" (None: nobody is on a line).
    dangling: {link or file in the run that names a checkpoint: what it names}, of those that name none that is there.
    """

    run: str
    now: float
    volume: Volume
    plan: Plan | None
    newest: str | None
    skipped: tuple[str, ...]
    why_none: str
    unknown: tuple[str, ...]
    skip_unknown: bool
    keep_last: int
    settings: Mapping[str, Any] | None
    origin: str
    scripts: tuple[Script, ...]
    probe: str | None
    trainings: tuple[str, ...]
    watcher: str
    above: str
    session: str | None
    dangling: Mapping[str, str] = {}


def checks(facts: Facts) -> tuple[Check, ...]:
    """Given what was measured, return every check in the order of reading."""
    each = (
        _volume,
        _inodes,
        _probe,
        _headroom,
        _count,
        _newest,
        _unknown,
        _trackers,
        _config,
        _cleanup,
        _clock,
        _second,
        _watcher,
        _session,
    )
    return tuple(check for one in each for check in one(facts))


def is_go(made: tuple[Check, ...]) -> bool:
    """Whether nothing stands against a start."""
    return all(check.state != "no-go" for check in made)


def _volume(facts: Facts) -> Iterator[Check]:
    volume, look = facts.volume, command("diskreport", facts.run)
    if volume.read_only:
        yield Check("no-go", "read-only", f"{volume.mount} is mounted read-only", "dmesg | tail -30")
    used = f"{volume.mount} is {volume.used_fraction:.0%} used"
    yield Check("no-go" if volume.used_fraction > CRITICAL else "go", "volume", used, look)


def _inodes(facts: Facts) -> Iterator[Check]:
    if facts.volume.total_inodes:
        free = facts.volume.free_inodes
        find = f"du --inodes -x --max-depth=2 {shlex.quote(facts.volume.mount)} | sort -n | tail -20"
        yield Check("no-go" if free < FEWEST_INODES else "go", "inodes", f"{free:,} inodes are free", find)


def _probe(facts: Facts) -> Iterator[Check]:
    if facts.probe is None:
        return
    if facts.probe:
        yield Check("no-go", "write", f"a file can't be written and deleted: {facts.probe}", f"ls -ld {facts.run}")
    else:
        yield Check("go", "write", "a file was written and deleted")


def _headroom(facts: Facts) -> Iterator[Check]:
    """Whether all that will ever be on disk at once fits: the checkpoints that are there make room for the next."""
    sizes = [d.checkpoint.allocated_bytes for d in facts.plan.decisions] if facts.plan else []
    if not sizes:
        yield Check("warn", "headroom", "the size of a checkpoint is not known yet", command("plan", "--help"))
        return
    peak, save = max(2, facts.keep_last), next_save_bytes(max(sizes))
    need, have = peak * save, facts.volume.available_bytes + sum(sizes)
    told = f"{peak} checkpoints need {human(need)}, {human(have)} are there for them"
    yield Check("go" if have >= need else "no-go", "headroom", told, command("diskreport", facts.run))


def _count(facts: Facts) -> Iterator[Check]:
    if facts.plan is None:
        return
    going = len(facts.plan.deletions)
    told = f"{len(facts.plan.decisions)} checkpoints, {going} of them more than the policy keeps"
    yield Check("no-go" if going else "go", "checkpoints", told, command("prune", facts.run))


def _newest(facts: Facts) -> Iterator[Check]:
    if facts.newest and facts.skipped:
        told = f"resumes from {facts.newest}; skipped: {'; '.join(facts.skipped)}"
        yield Check("warn", "resume", told, command("verify", facts.run, "--explain"))
    elif facts.newest:
        yield Check("go", "resume", f"resumes from {facts.newest}")
    elif facts.why_none:
        yield Check("no-go", "resume", facts.why_none, command("verify", facts.run, "--explain"))
    else:
        yield Check("go", "resume", "no checkpoint yet: starts at step 0")


def _unknown(facts: Facts) -> Iterator[Check]:
    """It may be the newest save: who goes on from an older one should say so."""
    if not facts.unknown:
        return
    more = f"; and {len(facts.unknown) - 1} more" if len(facts.unknown) > 1 else ""
    told = f"newer than what a resume takes: {facts.unknown[0]}{more}; skip: --skip-unknown"
    state = "warn" if facts.skip_unknown else "no-go"
    yield Check(state, "unknown", told, command("recover", facts.run, "--set-aside"))


def _trackers(facts: Facts) -> Iterator[Check]:
    """A framework that goes by its own tracker starts from nothing, or dies."""
    for name, target in facts.dangling.items():
        path = shlex.quote(f"{facts.run}/{name}")
        yield Check("warn", "tracker", f"{name} names {target[:99]}, and there is no such checkpoint", f"rm {path}")


def _config(facts: Facts) -> Iterator[Check]:
    """The Trainer's own limit and interval against the volume: with the Trainer alone, and with the guard."""
    if facts.settings is None:
        return
    how = going_on.saving(facts.settings)
    told = ", ".join(f"{name} {facts.settings.get(name)}" for name in ("save_total_limit", "save_steps"))
    told = f"{told} ({facts.origin})"
    one = "ckptkit.guard(trainer, keep_last=2), or --save-total-limit 2"
    sizes = [d.checkpoint.allocated_bytes for d in facts.plan.decisions] if facts.plan else []
    if not how.saves:
        yield Check("warn", "config", f"{told}: nothing is saved, a crash loses all", "--save-strategy steps")
    elif not sizes:
        told = f"{told}: the size of a checkpoint is not known yet"
        yield Check("go" if how.limit else "warn", "config", told, one if not how.limit else command("plan", "--help"))
    else:
        yield _against_the_volume(facts, how, sizes, told, one)


def _against_the_volume(facts: Facts, how: going_on.Saving, sizes: list[int], told: str, one: str) -> Check:
    standing = going_on.Standing(facts.plan.decisions[-1].checkpoint.step if facts.plan else 0, tuple(sizes))
    guarded, alone = (
        going_on.ahead(facts.volume, standing, how, next_save_bytes(max(sizes)), guard) for guard in (True, False)
    )
    if guarded.full_at is not None:
        fix = command("plan", "--from", facts.run, "--max-steps", str(how.max_steps or 10_000))
        return Check("no-go", "config", f"{told}: {_full(guarded, how)}, even with the guard", fix)
    if alone.full_at is not None:
        return Check("warn", "config", f"{told}: {_full(alone, how)} with the Trainer alone", one)
    if how.limit is None and not how.max_steps:
        return Check("warn", "config", f"{told}: nothing is ever deleted but by the guard", one)
    usable = facts.volume.total_bytes - facts.volume.reserved_bytes  # as df counts
    most = f"{alone.peak_used_bytes / max(1, usable):.0%}"
    return Check("go", "config", f"{told}: {facts.volume.mount} peaks at {most}")


def _full(seen: Outlook, how: going_on.Saving) -> str:
    return f"the volume is full at step {seen.full_step}" if how.every else "the volume will be full"


def _cleanup(facts: Facts) -> Iterator[Check]:
    """Whether the training's own script deletes checkpoints, and whether that will be the newest."""
    for script in facts.scripts:
        if script.fault:
            told = f"{script.path} could not be looked at: {script.fault}"
            yield Check("warn", "cleanup", told, f"ls -l {shlex.quote(script.path)}")
        each = [_deleting(facts, script, place) for place in script.cleanups]
        if len(each) > MOST_PLACES:
            each.sort(key=lambda check: check.state != "no-go")  # those are not among the "more"
        yield from each[:MOST_PLACES]
        if more := each[MOST_PLACES:]:
            told = f"{script.path} deletes checkpoints in {len(more)} more places"
            yield Check("no-go" if more[0].state == "no-go" else "warn", "cleanup", told, more[0].command)
    clean = [script.path for script in facts.scripts if not script.fault and not script.cleanups]
    if clean:
        told = f"no checkpoint is deleted in {', '.join(clean)}; what is imported there was not read"
        yield Check("go", "cleanup", told)


def _deleting(facts: Facts, script: Script, place: Cleanup) -> Check:
    told = f"{script.path}:{place.line} deletes checkpoints"
    fix = f"remove that {'callback' if place.in_class else 'code'}; {_guard(facts)} does it"
    if place.order != "names":
        state = "no-go" if place.order == "listing" else "warn"
        return Check(state, "cleanup", f"{told} {CHOOSES[place.order]}; {BESIDE}", fix)
    told = f"{told} in the order of their names"
    swap = _swap(facts)
    if swap is None:
        return Check("warn", "cleanup", f"{told}; from checkpoint-10000 on that deletes the newest; {BESIDE}", fix)
    before, after = swap
    told = f"{told}: checkpoint-{after} sorts before checkpoint-{before}, so it deletes the newest"
    return Check("no-go", "cleanup", told, fix)


def _guard(facts: Facts) -> str:
    return f"ckptkit.guard(trainer, keep_last={facts.keep_last})"


def _swap(facts: Facts) -> tuple[int, int] | None:
    """The steps of two saves that this run will have and of which the later one's name comes first."""
    how = going_on.saving(facts.settings or {})
    if not how.saves:
        return None
    standing = [d.checkpoint.step for d in facts.plan.decisions] if facts.plan else []
    named = (facts.settings or {}).get("save_steps") is not None
    return first_swap(standing, how.every if named else 0, how.max_steps)


def _clock(facts: Facts) -> Iterator[Check]:
    newest = max((d.checkpoint.modified_at for d in facts.plan.decisions), default=0.0) if facts.plan else 0.0
    if newest - facts.now > CLOCK_SECONDS:
        told = f"the clock is {newest - facts.now:.0f} s behind the newest checkpoint"
        yield Check("warn", "clock", told, "date; timedatectl")
    else:
        yield Check("go", "clock", "the clock is not behind the checkpoints")


def _second(facts: Facts) -> Iterator[Check]:
    if facts.trainings:
        told = f"{'; '.join(facts.trainings)}: wait for its end, or use another output_dir"
        yield Check("no-go", "second-training", told, f"fuser -v {shlex.quote(facts.run)}")
    else:
        yield Check("go", "second-training", "nobody else is at work on this run")


def _watcher(facts: Facts) -> Iterator[Check]:
    if facts.watcher:
        yield Check("go", "watch", f"watched by {facts.watcher}")
        return
    fix = command("cron", "--install", facts.above) if facts.above else command("monitor", facts.run)
    yield Check("warn", "watch", "nobody sweeps or watches while you sleep", fix)


def _session(facts: Facts) -> Iterator[Check]:
    if facts.session is None:
        return
    told = f"runs on in {facts.session}" if facts.session else "dies with your connection: no tmux, screen or nohup"
    yield Check("go" if facts.session else "warn", "session", told, "tmux new -s train")
