"""A training of a year in simulated time: saved and swept every hour, on real checkpoints, and much goes wrong."""

import hashlib
import json
import os
import random
import shutil

from ckptkit.errors import NoIntactCheckpoint
from ckptkit.ops.latest import latest
from ckptkit.ops.pin import pin, unpin
from ckptkit.ops.prune import prune
from ckptkit.policy.keep import Range, Rules
from tests.support.runs import OLD, set_age

START, HOUR, DAY, STEPS = 1_700_000_000.0, 3600.0, 86_400.0, 100  # steps between two saves
POLICIES = (
    Rules(Range(2, 2)), Rules(Range(1, 1)), Rules(Range(3, 3)), Rules(Range(2, 2), keep_every=1000), Rules(Range(2, 5)),
)  # fmt: skip
NEEDED = ("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


class Year:
    """What is true of the run, known by who simulates it and not by looking: `saved` holds (training, step), oldest
    first, of each intact one that stands there; `torn` and `pinned` hold steps.
    """

    def __init__(self, real: str, run: str, seed: int) -> None:
        self.template, self.run, self.rng = f"{real}/lora/checkpoint-100", run, random.Random(seed)
        self.now, self.training, self.step, self.rules = START, 0, 0, POLICIES[0]
        self.saved: list[tuple[int, int]] = []
        self.torn: set[int] = set()
        self.pinned: set[int] = set()
        self.log: list[dict[str, float]] = []
        self.deleted, self.newest_at = 0, 0.0
        os.makedirs(run)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def hour(self) -> str:
        """Live through one; returns which promise was broken, or ""."""
        self.now += HOUR
        if self.chance(0.03):
            self.rules = POLICIES[int(self.rng.random() * len(POLICIES))]
        if self.chance(0.02):
            self._jump()
        if self.saved and self.chance(0.02):
            self._restart()
        if self.chance(0.01) and self.now > self.newest_at:
            self.training, self.step, self.log = self.training + 1, 0, []  # in the same directory
        self._save(torn=self.chance(0.04))
        if self.saved and self.chance(0.03):
            self._pin()
        return self._swept()

    # --- what happens -----------------------------------------------------------------------------------------------

    def _jump(self) -> None:
        """The clock; not back over the saves of an earlier training: then nothing tells which of the two is live."""
        back = all(training == self.training for training, _ in self.saved)
        self.now += (self.rng.random() - (0.5 if back else 0)) * 30 * DAY

    def _restart(self) -> None:
        """From what `latest` says, which must be what was saved last."""
        step = int(latest(self.run, now=self.now).path.rpartition("-")[2])
        assert (self.training, step) == self.saved[-1], f"latest says {step}, {self.saved[-1]} was saved last"
        self.step = step
        self.log = [line for line in self.log if line["step"] <= step]

    def _save(self, torn: bool) -> None:
        """As the Trainer does: over what lies there under that name, the state last. After a torn one it is killed."""
        self.step += STEPS
        self.log.append({"step": self.step, "loss": self.training + self.step / 1e6})
        path = f"{self.run}/checkpoint-{self.step}"
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path)
        for name in NEEDED:
            shutil.copyfile(f"{self.template}/{name}", f"{path}/{name}")
        self.saved = [(t, s) for t, s in self.saved if s != self.step]
        self.torn.discard(self.step)
        if torn:
            self.torn.add(self.step)
        else:
            with open(f"{path}/trainer_state.json", "w") as file:
                json.dump({"global_step": self.step, "log_history": self.log}, file)
            self.saved.append((self.training, self.step))
        set_age(path, self.now, OLD)  # whatever trains on this machine meanwhile, it has not been writing that
        self.newest_at = max(self.newest_at, self.now)
        if torn and self.saved and self.saved[-1][0] == self.training:
            self._restart()

    def _pin(self) -> None:
        step = self.saved[int(self.rng.random() * len(self.saved))][1]
        act = unpin if step in self.pinned or len(self.pinned) > 2 else pin
        step = min(self.pinned) if act is unpin else step
        act(f"{self.run}/checkpoint-{step}")
        (self.pinned.add if act is pin else self.pinned.discard)(step)

    # --- what must hold ---------------------------------------------------------------------------------------------

    def _swept(self) -> str:
        try:
            done = prune(self.run, self.rules, now=self.now, yes=True, patient=False, settle=False)
        except NoIntactCheckpoint:
            return f"{len(self.saved)} intact ones, and prune sees none" if self.saved else ""
        if done.outcome and done.outcome.failures:
            return str(done.outcome.failures)
        there = {int(name.rpartition("-")[2]) for name in os.listdir(self.run) if name.startswith("checkpoint-")}
        before, self.saved = self.saved, [(t, s) for t, s in self.saved if s in there]
        self.deleted += len(before) - len(self.saved)
        self.torn &= there
        return self._broken(before)

    def _broken(self, before: list[tuple[int, int]]) -> str:
        live = [s for t, s in before if t == self.training]
        last, steps = self.rules.keep_last, {s for _, s in before}
        assert last
        must = {*live[-last.high :], *(self.pinned & steps), *before[-1:][0][1:]} if before else set()
        if every := self.rules.keep_every:
            must |= {s for s in steps if s % every == 0}
        if lost := must - {s for _, s in self.saved}:
            return f"{sorted(lost)} had to stay under {self.rules}, pinned {self.pinned}; stays: {self.saved}"
        may = last.high + len(must - set(live[-last.high :]))
        if len(self.saved) > may:
            return f"{len(self.saved)} stay under {self.rules}, at most {may} may: {self.saved}, pinned {self.pinned}"
        return ""

    def checksum(self) -> str:
        """Of what stands there at the end: names, states, trainings, and how many went in all."""
        told = [sorted(os.listdir(self.run)), self.saved, sorted(self.torn), sorted(self.pinned), self.deleted]
        for _, step in self.saved:
            with open(f"{self.run}/checkpoint-{step}/trainer_state.json") as file:
                told.append(json.load(file))
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
