"""When a run's volume is full, from what was seen of it and by the rules that hold for it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from ckptkit import config
from ckptkit.errors import CkptkitError
from ckptkit.forecast import volume_full
from ckptkit.history import records
from ckptkit.model.decision import PrunePlan
from ckptkit.model.disk import Volume
from ckptkit.model.events import Outlook, Sample
from ckptkit.model.report import Trail
from ckptkit.ops import record
from ckptkit.policy.keep import Rules
from ckptkit.system import volumes

DAY = 86400.0
FEWEST = 3  # samples: fewer show no growth


def foreseen(samples: Sequence[Sample], rules: Rules | None = None, last_step: int = 0) -> Outlook | None:
    """Given samples of one run, oldest first, return when its volume is full if all goes on; None if too few.

    rules: that hold for the run, by default those of its ckptkit.toml and the environment. last_step: 0 if not known.
    """
    if len(samples) < FEWEST or not samples[-1].run:
        return None
    rules = rules or _rules(samples[-1].run)
    keep = rules.keep_last.high if rules and rules.keep_last else None
    outlook = volume_full.outlook(samples, samples[-1].at, keep=keep, max_steps=last_step)
    return outlook if last_step or outlook.full_at else outlook._replace(peak_step=None)  # as far as anybody looked


def last_step(plan: PrunePlan) -> int:
    """Given a run's plan, return the step at which its newest intact checkpoint says that training ends; 0 if none."""
    states = [decision.verdict.trainer_state for decision in plan.intact]
    return states[-1].max_steps if states and states[-1] else 0


def trails(volumes: Iterable[Volume], plans: Iterable[tuple[PrunePlan, Rules]], now: float) -> tuple[Trail, ...]:
    """Given what stands there now, return each volume's last day and each run's with its outlook; none without a past.

    Each ends with what stands there now: what a monitor saw before somebody made room is no outlook.
    """
    return tuple(trail for trail in _trails(volumes, plans, now) if len(trail.samples) > 1)


def _trails(mounted: Iterable[Volume], plans: Iterable[tuple[PrunePlan, Rules]], now: float) -> Iterator[Trail]:
    for volume in mounted:
        yield Trail(_past(volume.mount, "", now, record.of_volume(volume, now)))
    for plan, rules in plans:
        with suppress(OSError):  # it vanished meanwhile
            volume = volumes.volume(plan.run)
            if plan.decisions:
                samples = _past(volume.mount, plan.run, now, record.of_run(plan, volume, now))
                yield Trail(samples, foreseen(samples, rules, last_step(plan)))


def _past(mount: str, run: str, now: float, here: Sample) -> tuple[Sample, ...]:
    """Samples of the last day, oldest first, and the one of now; what a wrong clock dated later is left out."""
    known, _ = records.recall(Sample, now - DAY, mount=mount, run=run)
    return (*(sample for sample in known if sample.at < now), here)


def _rules(run: str) -> Rules | None:
    """None, by which nothing is deleted, where they can't be read."""
    with suppress(CkptkitError, OSError):
        return config.rules(run, {}, os.environ, 0)
    return None
