"""Run as a script, `acts.py ACT RUN`: what no verb does alone. Exits 3 with the fault on stderr."""

import sys
from functools import partial


def guard(run: str) -> str:
    """What follows a save in the guard's thread: durable, verified, manifest, prune, history."""
    from ckptkit.guard.after_save import FollowUp, FollowUps
    from ckptkit.guard.keeper import _record
    from ckptkit.guard.room import Room
    from ckptkit.guard.settings import GuardSettings
    from ckptkit.policy.keep import Range, Rules

    room = Room(run, GuardSettings(Rules(keep_last=Range(2, 2)), 2, True, "skip", 0.0))
    record = partial(_record, room.path("checkpoint-500"), "save", 0.1)
    follow_ups = FollowUps()
    follow_ups.start(FollowUp(room, "checkpoint-500", lambda: None, record))
    follow_ups.wait()
    return ""


def history(run: str) -> str:
    """One sample of the volume."""
    from ckptkit.history import records
    from ckptkit.model.events import Sample

    return records.record(Sample(1e9, "/", 3, 2, 1, run))


ACTS = {"guard": guard, "history": history}

if __name__ == "__main__":
    fault = ACTS[sys.argv[1]](sys.argv[2])
    print(fault, file=sys.stderr)
    sys.exit(3 if fault else 0)
