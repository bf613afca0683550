"""The noun of the corpus, and the claims that most entries make."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ckptkit.model.checkpoint import Level

LEVELS: tuple[Level, ...] = ("quick", "full", "deep")


class Claim(NamedTuple):
    """From this level on the verdict is `state`, with a finding of this code. A hint leaves the state intact."""

    level: str
    state: str
    code: str


class Damage(NamedTuple):
    """One thing that happens to a checkpoint.

    name        a path: family/what, also where `python -m tests.corpus` puts it
    kind        of the checkpoint that it happens to: a directory that `originals` makes
    harm        what happens, given the checkpoint; times stay as they were, as under a rotting disk
    claims      what is seen without a manifest, lowest level first; () is nothing, at no level
    manifested  what is seen with a manifest written before; None: the same
    what        the row of the table that it belongs to
    needs_root  another user, or a device, is needed to make it
    hostile     made to run, to fill the memory, or to take for ever: these are measured
    """

    name: str
    kind: str
    harm: Callable[[Path], object]
    claims: tuple[Claim, ...]
    what: str
    manifested: tuple[Claim, ...] | None = None
    needs_root: bool = False
    hostile: bool = False

    def expected(self, level: str, manifested: bool) -> Claim | None:
        """The claim that holds at a level, None if nothing is claimed there."""
        claims = self.claims if self.manifested is None or not manifested else self.manifested
        there = [claim for claim in claims if LEVELS.index(claim.level) <= LEVELS.index(level)]
        return there[-1] if there else None


def torn(code: str = "truncated") -> tuple[Claim, ...]:
    return (Claim("quick", "incomplete", code),)


def wrong(code: str, level: str = "quick") -> tuple[Claim, ...]:
    return (Claim(level, "corrupt", code),)


def unjudged(code: str, level: str = "quick") -> tuple[Claim, ...]:
    return (Claim(level, "unknown", code),)


def hint(code: str, level: str = "quick") -> tuple[Claim, ...]:
    return (Claim(level, "intact", code),)


UNSEEN: tuple[Claim, ...] = ()
OPTIONAL = ("README.md", "training_args.bin", "generation_config.json")  # no resume reads them


def in_file(name: str, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """What is claimed of damage to a file of that name: told, and no more, where no resume reads it."""
    if name not in OPTIONAL:
        return claims
    return tuple(Claim(claim.level, "intact", "bad-optional") for claim in claims)


RESIZED = wrong("changed-since-manifest")
CHANGED = wrong("changed-since-manifest", "full")
