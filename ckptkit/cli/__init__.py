"""The command line: the only room that reads arguments, prints and exits. One module a verb, loaded when typed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ckptkit import calling
from ckptkit.cli.output import Output, stop
from ckptkit.errors import CkptkitError, DiskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

VERBS = {
    "prune": "delete what the rules release, keep the newest intact, tell what it freed",
    "strip": "make old checkpoints weights-only, the newest can still be resumed from",
    "verify": "tell an intact checkpoint from a torn, corrupt or unreadable one",
    "latest": "print the newest intact resumable checkpoint",
    "diskreport": "show what fills the disk, each run's checkpoints, and flags with the command that mends them",
    "plan": "size a training on a volume before it runs: the peak, the step at which it dies, what fits",
    "preflight": "go or no-go before a training (re)starts",
    "recover": "after a crash: what happened, what to free, what to resume from",
    "move": "copy a run's checkpoints to another volume or box, newest first, each proved; resume there",
    "monitor": "watch a volume and the runs on it, warn once a change, and record",
    "cron": "prune, watch and verify by itself: by cron, systemd timers or tmux",
    "discard": "delete one checkpoint that you name in full, also one that nobody can judge",
    "pin": "never delete this checkpoint, whatever the rules say",
    "unpin": "let the rules decide about this checkpoint again",
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit with its code. argv: without the program's name, default the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    calling.started(arguments)
    verb = arguments[0] if arguments else ""
    if verb not in VERBS:
        stop(0 if verb in ("-h", "--help") else 2, _overview(verb))
    output = Output(verb, json="--json" in arguments)
    try:
        code = _run(verb, arguments[1:], output)
    except CkptkitError as error:
        code = output.error(error)
    except OSError as error:  # the disk's word, not a fault of ours: no traceback
        code = output.error(DiskError(error))
    except KeyboardInterrupt:
        code = 130
    except Exception as error:  # noqa: BLE001 - the last line of defence: told, and never exit 0
        code = output.unexpected(error)
    output.finish(code)


def _run(verb: str, arguments: Sequence[str], output: Output) -> int:
    from importlib import import_module

    module = import_module(f"ckptkit.cli.{'pin' if verb == 'unpin' else verb}")
    options = module.parser(verb).parse_args(arguments)
    output.configure(options)
    code: int = module.run(options, output)
    return code


def _overview(verb: str) -> str:
    fault = f"ckptkit: no such verb: {verb!r}\n" if verb and verb not in ("-h", "--help") else ""
    verbs = "\n".join(f"  {name:<11} {what}" for name, what in VERBS.items())
    return f"{fault}usage: ckptkit VERB ...\n\n{verbs}\n\nckptkit VERB --help tells more"
