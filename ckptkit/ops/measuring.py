"""A volume, or a run on it, as a sample for the history."""

from ckptkit.model.disk import Volume
from ckptkit.model.events import Sample
from ckptkit.model.plan import Plan


def of_volume(volume: Volume, now: float) -> Sample:
    """Given a volume, return it as a sample of itself, of no run."""
    used = volume.total_bytes - volume.free_bytes
    return Sample(now, volume.mount, volume.total_bytes, used, volume.available_bytes)


def of_run(made: Plan, volume: Volume, now: float) -> Sample:
    """Given a run's plan, which names a checkpoint at least, and its volume, return the run as a sample."""
    checkpoints = [d.checkpoint for d in made.decisions]
    return of_volume(volume, now)._replace(
        run=made.run,
        step=max(c.step for c in checkpoints),
        checkpoints=len(checkpoints),
        checkpoint_bytes=sum(c.allocated_bytes for c in checkpoints),
    )
