"""The verbs, a line each, and the module of each: loaded when it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ckptkit.cli.output import Output

VERBS = {
    "prune": "delete what the rules release, keep the newest intact, tell what it freed",
    "strip": "make old checkpoints weights-only, the newest can still be resumed from",
    "verify": "tell an intact checkpoint from a torn, corrupt or unreadable one",
    "latest": "print the newest intact resumable checkpoint",
    "diskreport": "show what fills the disk, each run's checkpoints, and flags with the command that helps",
    "plan": "size a training on a volume before it runs: the peak, the step at which it dies, what fits",
    "preflight": "go or no-go before a training (re)starts",
    "recover": "after a crash: what happened, what to free, what to resume from",
    "move": "copy a run's checkpoints to another volume or box, newest first, each proved; resume there",
    "monitor": "watch a volume and the runs on it, warn once per change, and record",
    "cron": "prune, watch and verify by itself: by cron, systemd timers or tmux",
    "discard": "delete one checkpoint that you name in full, also one that nobody can judge",
    "pin": "never delete this checkpoint, whatever the rules say",
    "unpin": "let the rules decide about this checkpoint again",
    "completion": "print the script that completes verbs and flags in bash, zsh or fish",
}

MODULES = {"unpin": "pin"}  # where it is not the verb's own name


class VerbParser(Protocol):
    """What reads a verb's arguments, and what a page needs to know of it (`options.Parser`)."""

    verb: str
    examples: str
    exits: tuple[tuple[int, str], ...]
    common: argparse._ArgumentGroup
    description: str | None
    _action_groups: list[argparse._ArgumentGroup]

    def parse_args(self, args: Sequence[str]) -> argparse.Namespace:
        """The options, given the words after the verb. Raises UsageError."""


class VerbModule(Protocol):
    """A verb's own file in this room."""

    def parser(self, verb: str) -> VerbParser:
        """The flags of the verb, as typed: one file may hold two verbs."""

    def run(self, options: argparse.Namespace, output: Output) -> int:
        """Do it and say what came of it. Returns the exit code. Raises CkptkitError, OSError."""


def load(verb: str) -> VerbModule:
    """The module of a verb: `parser(verb)`, `run(options, output)`."""
    from importlib import import_module

    return cast("VerbModule", import_module(f"ckptkit.cli.{MODULES.get(verb, verb)}"))
