"""What cron, a systemd timer or tmux runs for us."""

from typing import NamedTuple


class Job(NamedTuple):
    """One command that is run again and again.

    when: as in a crontab. calendar: the same time for a systemd timer. what: the job in words. words: the command,
    with absolute paths, and all that it needs of an environment.
    """

    verb: str
    when: str
    calendar: str
    what: str
    words: tuple[str, ...]


class Sweep(NamedTuple):
    """What the first sweep of one run would delete, given a yes.

    going: of the intact checkpoints. damaged: others that go. needs_a_yes: the mass-delete guard stops it without one.
    limit: the max_delete that its own settings give, which no yes lifts; None if they give none.
    fault: why the plan could not be made, or "".
    """

    run: str
    intact: int = 0
    going: int = 0
    damaged: int = 0
    freed_bytes: int = 0
    needs_a_yes: bool = False
    limit: int | None = None
    fault: str = ""


class Schedule(NamedTuple):
    """What will be put in for one directory above runs. Nothing is done yet.

    way: cron, systemd or tmux. place: whose crontab, which directory, or the session, in words. text: what is put in.
    changed: whether it differs from what is there. logs: directory of our logs. logs_beside: it lies on the volume of
    the runs. rules: as flags. agreed: whether the yes for these rules is known. policy: what a yes is for
    in each run. own: {run: rules} where a run's own settings say otherwise.
    """

    root: str
    way: str
    place: str
    jobs: tuple[Job, ...]
    text: str
    changed: bool
    logs: str
    logs_beside: bool
    rules: str
    sweeps: tuple[Sweep, ...]
    agreed: bool
    policy: object
    own: dict[str, object]


class Scheduled(NamedTuple):
    """What is put in for one directory above runs.

    runs_it: who runs it, in words, or "" if nobody does. fix: what starts that, if it is known, or "".
    last: {verb: when its log was last written to, in seconds since the epoch}.
    """

    root: str
    way: str
    text: str
    runs_it: str
    fix: str
    last: tuple[tuple[str, float], ...]
    agreed: bool
