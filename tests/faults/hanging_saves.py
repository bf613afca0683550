"""Run as a script: trainings under the guard on a disk that never answers one call, until the training is over.

python -m tests.faults.hanging_saves FOLDER SEED all|some

The guard's own bounds are short here. One line on stdout for each trial: [what was done, [broken promises]]. Where
Python's own lock is held in a call that hangs, nothing in this process can end it: the kernel's clock does, with the
stacks of all threads on stderr.
"""

import faulthandler
import importlib
import json
import random
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

from tests.faults import save_trials
from tests.faults.disk_under_test import Refusal, failing_disk
from tests.faults.failing_disk import ARRIVES, NEVER
from tests.faults.save_trials import KINDS, Known, broken, known

SHORT_BOUNDS = {"LONGEST_SECONDS": 3.0, "STILL_HANGING_SECONDS": 0.3}
HELP_AFTER_SECONDS = 90.0  # far more than four saves may take, each with its bound
END_AFTER_SECONDS = 240.0
# What libraries write by C++ or Rust.
COMPILED = ("model.safetensors", "optimizer.pt", "tokenizer.json")


def drawn(right: Known, rng: random.Random, every: bool) -> Iterator[Refusal]:
    """At every place, or at three, and at one of what compiled code writes. Once, or from then on."""
    places = [place for call in sorted(ARRIVES) for place in right.places[call]]
    if not every:
        some = [rng.choice(right.places[call]) for call in rng.sample(sorted(ARRIVES), 3)]
        compiled = [place for place in right.places["write"] if place.path.endswith(COMPILED)]
        places = [*some, rng.choice(compiled)]
    for place in places:
        yield Refusal(place, rng.randrange(place.times), NEVER, rng.choice(("once", "everywhere")))


def shorten_bounds() -> None:
    """So that a test can wait for them."""
    bounded = importlib.import_module("ckptkit.guard.bounded_disk")
    for name, seconds in SHORT_BOUNDS.items():
        assert hasattr(bounded, name)
        setattr(bounded, name, seconds)


def main(folder: str, seed: str, which: str) -> None:
    rng, out = random.Random(seed), sys.stdout
    shorten_bounds()
    save_trials.LONGEST_SECONDS = HELP_AFTER_SECONDS
    with redirect_stdout(sys.stderr), failing_disk(folder) as disk:
        right = known(disk, folder, rng.choice(KINDS))
        for number, refusal in enumerate(drawn(right, rng, which == "all")):
            faulthandler.dump_traceback_later(END_AFTER_SECONDS, exit=True)
            faults = list(broken(disk, f"run{number}", refusal, right))
            print(json.dumps([f"{refusal}, {right.kind}", faults]), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
