"""What may befall a training: a scenario is drawn from a seed, and is the same for the training with and without guard.

All sizes are in checkpoints: 1.5 is the room of one and a half. What is drawn lies at least a twentieth of a checkpoint
from a whole number, or is nothing at all: the guard's manifest and its scalars in trainer_state.json take a few KiB of
a checkpoint that is itself no larger than 1 MiB here, and where a volume takes two checkpoints to the last block, one
with a manifest and another one do not fit. With real checkpoints that is one part in a million.
"""

import math
import random
from typing import NamedTuple

# When in a step: at its end, before its save; before each part of the save; after the save.
MOMENTS = ("step", "save_model", "_save_optimizer_and_scheduler", "_save_rng_state", "saved")
IN_A_SAVE = MOMENTS[1:4]
# What saves: LoRA, a full model, and one by torch's distributed writer, as FSDP does, of which nobody here can judge
# what it writes; "sharded" says in its attributes that it does so, "sharded, untold" does not.
KINDS = ("lora", "full", "sharded", "sharded, untold")
MOST_SAVES = 10


class Event(NamedTuple):
    """A neighbour fills the volume until `rest` checkpoints would fit, or takes away all that he wrote (None)."""

    step: int
    moment: str
    rest: float | None


class Kill(NamedTuple):
    """SIGKILL of every rank; both trainings are then started again with resume_from_checkpoint=True."""

    step: int
    moment: str


class Scenario(NamedTuple):
    """room: of the volume. earlier: the step to which a run of the same settings went in that directory an hour before.

    best: "" or whether the best one is "tracked", or also "loaded" at the end; rising: whether more loss is better, so
    that the best is the first.
    """

    seed: int
    kind: str
    only_model: bool
    ranks: int
    keep_last: int
    best: str
    rising: bool
    on_full: str
    timeout: float
    save_steps: int
    max_steps: int
    room: float
    earlier: int
    events: tuple[Event, ...]
    kill: Kill | None

    @property
    def judged(self) -> bool:
        """Whether ckptkit can judge what this Trainer writes."""
        return not self.kind.startswith("sharded")

    @property
    def eaten(self) -> int:
        """How many checkpoints it may cost that a neighbour took, during a save, the room freed for it: no guard knows.

        Where the volume holds as many as keep_last asks for, keep_last - 1 are left all the same. Where it holds fewer,
        since it is small or a neighbour filled it before, one fewer than without the guard may be left.
        """
        fills = [event for event in self.events if event.rest is not None]
        if len(fills) < 2 and self.room >= self.keep_last:
            return 0
        return sum(event.moment in IN_A_SAVE for event in fills)

    @property
    def announced(self) -> int:
        """The most checkpoints at any instant: what the guard says, or the Trainer's own where that rotates.

        The Trainer deletes after a save alone, so that one which a kill tore is one more until then.
        """
        if not self.judged:
            return max(self.keep_last, 2 if self.best else 1) + 1 + (self.kill is not None)
        weights_only = self.on_full == "weights-only" and not self.only_model
        return max(self.keep_last, 2) + bool(self.best) + weights_only


def draw(seed: int) -> Scenario:
    """The scenario of that seed."""
    rng = random.Random(seed)
    kind = rng.choices(KINDS, (50, 25, 15, 10))[0]
    judged = not kind.startswith("sharded")
    save_steps = rng.choice((5, 6, 8, 10, 15, 20))
    max_steps = rng.randint(max(30, 2 * save_steps), min(100, MOST_SAVES * save_steps))
    keep_last = rng.randint(1, 4)
    scenario = Scenario(
        seed=seed,
        kind=kind,
        only_model=judged and rng.random() < 0.12,
        ranks=2 if judged and rng.random() < 0.2 else 1,
        keep_last=keep_last,
        best=rng.choices(("", "tracked", "loaded" if judged else "tracked"), (60, 25, 15))[0],
        rising=rng.random() < 0.5,
        on_full=rng.choices(("skip", "wait", "weights-only"), (50, 20, 30))[0],
        timeout=round(rng.uniform(0.2, 0.5), 2),
        save_steps=save_steps,
        max_steps=max_steps,
        room=_room(rng, keep_last),
        earlier=rng.randrange(save_steps, max_steps + 1, save_steps) if rng.random() < 0.25 else 0,
        events=_events(rng, save_steps, max_steps),
        kill=_kill(rng, save_steps, max_steps) if rng.random() < 0.35 else None,
    )
    return _without_mixes(scenario)


def _without_mixes(scenario: Scenario) -> Scenario:
    """No kill half way through a save that the Trainer, which rotates itself, writes over an older one of that name.

    The Trainer goes on from such a mix of two saves. The guard knows it by its mark, and refuses it on purpose.
    """
    kill = scenario.kill
    if scenario.judged or not scenario.earlier or not kill or kill.moment != "_save_rng_state":
        return scenario
    return scenario._replace(kill=kill._replace(moment="saved"))


def _between(rng: random.Random, low: int, high: int) -> float:
    """A size between two whole numbers of checkpoints, never near a whole one."""
    return rng.randrange(low, high) + round(rng.uniform(0.05, 0.95), 3)


def _room(rng: random.Random, keep_last: int) -> float:
    """From hardly one checkpoint to all of them."""
    how = rng.choices(("one", "some", "all"), (15, 55, 30))[0]
    return {"one": _between(rng, 1, 2), "some": _between(rng, 2, keep_last + 3), "all": MOST_SAVES + 4.5}[how]


def _events(rng: random.Random, save_steps: int, max_steps: int) -> tuple[Event, ...]:
    """None, or one filling or two, each perhaps with its end; in the order of the steps.

    One at most in the middle of a save: each of those may cost a checkpoint, see `Scenario.eaten`.
    """
    events: list[Event] = []
    for number in range(rng.choices((0, 1, 2), (30, 50, 20))[0]):
        step, moment = _instant(rng, save_steps, max_steps)
        moment = "step" if number and moment in IN_A_SAVE else moment
        events.append(Event(step, moment, rng.choice((0.0, _between(rng, 0, 1), _between(rng, 1, 3)))))
        if rng.random() < 0.5:
            events.append(Event(rng.randint(step, max_steps), "step", None))
    return tuple(sorted(events, key=lambda event: (event.step, MOMENTS.index(event.moment))))


def _kill(rng: random.Random, save_steps: int, max_steps: int) -> Kill:
    return Kill(*_instant(rng, save_steps, max_steps - 1))


def _instant(rng: random.Random, save_steps: int, last: int) -> tuple[int, str]:
    """A step and a moment in it; two of three lie in a save."""
    if rng.random() < 0.33:
        return rng.randint(2, last), "step"
    return save_steps * rng.randint(1, max(1, last // save_steps)), rng.choice(MOMENTS[1:])


def inherited(scenario: Scenario) -> list[int]:
    """The steps of the earlier run's checkpoints: as many as its own save_total_limit left, and as the volume holds."""
    steps = range(scenario.save_steps, scenario.earlier + 1, scenario.save_steps)
    return list(steps)[-min(scenario.keep_last, math.floor(scenario.room)) :]


def described(scenario: Scenario) -> str:
    """For a person: the scenario, one fact a line."""
    return "\n".join(f"    {name} = {value!r}" for name, value in zip(scenario._fields, scenario, strict=True))
