"""The verbs, a line each, and the module of each: loaded when it is typed."""

from __future__ import annotations

from typing import Any

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


def load(verb: str) -> Any:
    """The module of a verb: `parser(verb)`, `run(options, output)`."""
    from importlib import import_module

    return import_module(f"ckptkit.cli.{MODULES.get(verb, verb)}")
