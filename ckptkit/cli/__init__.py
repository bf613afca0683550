"""The command line: the only room that reads arguments, prints and exits. A file a verb."""

from __future__ import annotations

import fcntl
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from ckptkit import calling
from ckptkit.cli.output import Output, stop
from ckptkit.cli.verbs import VERBS, load
from ckptkit.errors import CkptkitError, DiskError, UsageError
from ckptkit.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit with its code. argv: without the program's name, default the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    calling.started(arguments)
    if arguments[:1] == ["help"]:  # ckptkit help prune
        arguments = [*arguments[1:2], "--help"]
    verb = arguments[0] if arguments else ""
    if verb not in VERBS:
        _without_verb(verb, arguments)
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


def _open_streams() -> None:
    """Where the caller closed stdout or stderr (`2>&-`), nobody wants it; and no file of ours may get its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    for name, fd in (("stdout", 1), ("stderr", 2)):
        # bash reads the script in bin/ through the number that the caller closed, so it is open, but not for writing.
        closed = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if getattr(sys, name) is None or (closed and getattr(sys, name) is getattr(sys, f"__{name}__")):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends


def _run(verb: str, arguments: Sequence[str], output: Output) -> int:
    module = load(verb)
    options = module.parser(verb).parse_args(arguments)
    output.configure(options)
    return module.run(options, output)


def _without_verb(typed: str, arguments: Sequence[str]) -> NoReturn:
    """Show the verbs or the version, or say which verb was meant."""
    from ckptkit.cli import help_pages, suggest

    if typed == "--version":
        stop(0, f"ckptkit {__version__}")
    if typed in ("", "-h", "--help"):
        stop(0 if typed else 2, help_pages.overview(VERBS))
    output = Output("ckptkit", json="--json" in arguments)
    what = "no such flag" if typed[0] == "-" else "no such verb"
    meant = suggest.ask(suggest.first(typed, VERBS))
    output.finish(output.error(UsageError(f"{what}: {typed!r}{meant}; see {calling.program()} --help")))
