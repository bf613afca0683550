"""Whether the disk lets a training save: the run's volume, and the others that it writes to."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ckptkit.calling import command
from ckptkit.forecast import next_save_bytes
from ckptkit.model.advice import Check, CheckState
from ckptkit.model.preflight import Facts, Place
from ckptkit.model.thresholds import CRITICAL, DOCKERS_SHM_BYTES, FEWEST_INODES, LOW_BYTES, NO_BYTES
from ckptkit.units import human, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptkit.model.preflight import Facts, Place

PROBE_BYTES = 1 << 16  # of the file that is written to see whether one can be
SHM = "/dev/shm"  # noqa: S108 - it is measured, not written


def volume(facts: Facts) -> Iterator[Check]:
    """Whether the run's volume can be written, and how full it is."""
    volume, look = facts.volume, command("diskreport", facts.run)
    if volume.read_only:
        yield Check("no-go", "read-only", f"{volume.mount} is mounted read-only", "dmesg | tail -30")
    used = f"{volume.mount} is {percent(volume.used_fraction)} used"
    full: CheckState = "warn" if facts.sizes and fits_next(facts) else "no-go"
    yield Check(full if volume.used_fraction > CRITICAL else "go", "volume", used, look)


def inodes(facts: Facts) -> Iterator[Check]:
    """Whether the volume has inodes for the files of the next save, where it counts them."""
    if facts.volume.total_inodes:
        free = facts.volume.free_inodes
        find = f"du --inodes -x --max-depth=2 {shlex.quote(facts.volume.mount)} | sort -n | tail -20"
        yield Check("no-go" if free < FEWEST_INODES else "go", "inodes", f"{free:,} inodes are free", find)


def probe(facts: Facts) -> Iterator[Check]:
    """Whether a file could be written there and deleted, where that was tried."""
    if facts.probe is None:
        return
    if facts.probe:
        message = f"a file can't be written and deleted: {facts.probe}"
        yield Check("no-go", "write", message, _room_or_rights(facts))
    else:
        yield Check("go", "write", "a file was written and deleted")


def _room_or_rights(facts: Facts) -> str:
    """What to type where a file can't be written: a volume without room is another matter than a user's rights."""
    if facts.volume.read_only:
        return "dmesg | tail -30"
    if facts.volume.available_bytes > PROBE_BYTES:
        return f"ls -ld {shlex.quote(facts.volume.path)}"
    return command("prune" if facts.plan and facts.plan.deletions else "diskreport", facts.run)


def headroom(facts: Facts) -> Iterator[Check]:
    """Whether all that will ever be on disk at once fits: the checkpoints that are there make room for the next.

    Only the guard makes that room before a save. A Trainer alone writes the next one beside those that are there.
    """
    sizes, look = facts.sizes, command("diskreport", facts.run)
    if not sizes:
        yield Check("warn", "headroom", "the size of a checkpoint is not known yet", command("plan", "--help"))
        return
    peak, save = max(2, facts.keep_last), next_save_bytes(max(sizes))
    need, free, own = peak * save, facts.volume.available_bytes, sum(sizes)
    message = f"{peak} checkpoints need {human(need)}; {human(free)} are free, the run's own take {human(own)}"
    if free + own < need:
        yield Check("no-go", "headroom", message, look)
    elif fits_next(facts):
        yield Check("go", "headroom", message)
    else:
        message = f"the next save needs {human(save)}, {human(free)} are free: only ckptkit.guard makes room before it"
        yield Check("warn", "headroom", message, look)


def fits_next(facts: Facts) -> bool:
    """Whether one more checkpoint fits beside those that are there."""
    return not facts.sizes or facts.volume.available_bytes >= next_save_bytes(max(facts.sizes))


# --- where else it writes -------------------------------------------------------------------------------------------


def places(facts: Facts) -> Iterator[Check]:
    """Caches and temporary files end a training as a full run does; a volume is told once."""
    well: dict[str, tuple[list[str], int]] = {}
    told_mounts: set[str] = set()
    for place in facts.places:
        bad = _bad_place(facts, place)
        if bad is None and not place.beside and place.volume:
            well.setdefault(place.volume.mount, ([], place.volume.available_bytes))[0].append(place.name)
        elif bad and (place.volume is None or place.fault or place.volume.mount not in told_mounts):
            told_mounts |= {place.volume.mount} if place.volume else set()
            yield bad
    if well:
        free_by_volume = (f"{' and '.join(names)} {human(free)}" for names, free in well.values())
        yield Check("go", "places", f"free for {', '.join(free_by_volume)}")


def _bad_place(facts: Facts, place: Place) -> Check | None:
    at = place.name if place.name == place.path else f"{place.name} ({place.path})"
    if place.fault:
        state: CheckState = "no-go" if place.name == "TMPDIR" else "warn"
        return Check(state, "places", f"{at} {place.fault}", _instead(facts, place))
    if place.volume is None or place.beside:  # the run's own volume is judged already
        return None
    if place.name == SHM:
        return _shared_memory(facts, place.volume.total_bytes, place.volume.available_bytes)
    free, used = place.volume.available_bytes, place.volume.used_fraction
    if free >= LOW_BYTES or (used <= CRITICAL and free >= NO_BYTES):
        return None
    state = "no-go" if free < NO_BYTES and place.name != "HOME" else "warn"
    mount = f" on {place.volume.mount}" if place.volume.mount != place.path else ""
    return Check(state, "places", f"{at} is nearly full: {human(free)} are free{mount}", _instead(facts, place))


def _shared_memory(facts: Facts, total: int, free: int) -> Check | None:
    """Ranks and data loaders hand each other tensors there: a bus error ends them where it is full."""
    if facts.processes < 2 or (total > DOCKERS_SHM_BYTES and free >= NO_BYTES):
        return None
    message = (
        f"{SHM} has {human(free)} of {human(total)} free for {facts.processes} processes: a bus error may end them"
    )
    if total <= DOCKERS_SHM_BYTES:
        return Check("warn", "places", f"{message}; start the container with --shm-size=8g (or --ipc=host)")
    return Check("no-go", "places", message, f"ls -lhS {SHM} | head -20")


def _instead(facts: Facts, place: Place) -> str:
    """What makes room, or sends the files to the run's own volume."""
    if place.name in ("TMPDIR", "HF_HOME") and facts.volume.available_bytes > 10 * LOW_BYTES:
        there = f"{facts.run.rpartition('/')[0]}/{'tmp' if place.name == 'TMPDIR' else 'huggingface'}"
        return f"mkdir -p {shlex.quote(there)} && export {place.name}={shlex.quote(there)}"
    if place.volume is None:
        return f"mkdir -p {shlex.quote(place.path)}"
    if place.fault:
        return f"ls -ld {shlex.quote(place.path)}"
    return f"du -xh --max-depth=2 {shlex.quote(place.path)} | sort -h | tail -20"
