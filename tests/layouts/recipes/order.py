"""The order in which a writer wrote one checkpoint, from strace, all ranks merged by time.

order.py RUN PREFIX... -- COMMAND...   runs COMMAND, which writes the run directory RUN
order.py --parse TRACE RUN PREFIX...   the same from a trace that is there

Prints what happened to names that begin with one of the PREFIXes (`checkpoint-4`), relative to RUN, one event a line:
`a/` (mkdir), `a/file` (opened for writing; a second time if it is written again), `a/x -> a/y` (rename),
`a/x => target` (symlink), `a/x (deleted)`. The random part of a temporary name is X. A relative name of which strace
tells no directory is taken from RUN's parent, where the recipes stand.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CALLS = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,unlink,unlinkat,rmdir"
STRACE = ("strace", "-f", "-y", "-s", "4096", "--signal=none", "-e", f"trace={CALLS}", "-z")
LINE = re.compile(r"^(\d+) +(?:(\w+)\(|<\.\.\. (\w+) resumed>)(.*)$")
WORD = re.compile(r'(?:\b(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')
RANDOM = re.compile(r"(?<=\.tmp)\w{6}$|(?<=/tmp)\w{8}$|(?<=^tmp)\w{8}$")


def main(arguments: list[str]) -> int:
    """Trace, or read a trace; print the events."""
    if arguments[:1] == ["--parse"]:
        trace, run, *prefixes = arguments[1:]
        text = Path(trace).read_text()
    elif "--" in arguments:
        at = arguments.index("--")
        (run, *prefixes), command = arguments[:at], arguments[at + 1 :]
        text = trace_of(command)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    print("\n".join(events(text, os.path.realpath(run), prefixes)))
    return 0


def trace_of(command: list[str]) -> str:
    """What strace says of the command and all its children; the command must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace")
        subprocess.run([*STRACE, "-o", path, *command], check=True, stdout=sys.stderr)
        return Path(path).read_text()


def events(trace: str, run: str, prefixes: list[str]) -> Iterator[str]:
    """The lines of the .order file."""
    for call, paths, rest in _calls(trace, os.path.dirname(run)):
        names = [_name(path, run) for path in paths]
        if not any(name.startswith(tuple(prefixes)) for name in names):
            continue
        if call.startswith("mkdir"):
            yield names[0] + "/"
        elif call.startswith("rename"):
            yield f"{names[0]} -> {names[1]}"
        elif call.startswith("symlink"):
            yield f"{names[0]} => {rest}"
        elif call in ("unlink", "unlinkat", "rmdir"):
            yield f"{names[0]} (deleted)"
        elif re.search(r"O_(WRONLY|RDWR)|^creat", rest) and "O_TMPFILE" not in rest:
            yield names[0]


def _calls(trace: str, cwd: str) -> Iterator[tuple[str, list[str], str]]:
    """(call, absolute paths, the rest) of each successful call; one that others interrupt counts where it began."""
    pending: dict[str, int] = {}
    lines: list[list[str]] = []
    for line in trace.splitlines():
        if match := LINE.match(line):
            process, call, resumed, text = match.groups()
            if resumed:
                if process in pending:
                    lines[pending.pop(process)][1] += text
                continue
            if text.endswith("<unfinished ...>"):
                pending[process] = len(lines)
                text = text.removesuffix("<unfinished ...>")
            lines.append([call, text])
    for call, text in lines:
        words = WORD.findall(text)
        if not words or re.search(r"= -1 E\w+", text):
            continue
        if call.startswith("symlink"):
            yield call, [_absolute(words[1], cwd)], words[0][1]
        else:
            yield call, [_absolute(word, cwd) for word in words], call + text


def _absolute(word: tuple[str, str], cwd: str) -> str:
    """The directory is what strace's -y tells of where the call was relative to."""
    folder, name = word
    return os.path.normpath(os.path.join(folder or cwd, name.encode().decode("unicode_escape")))


def _name(path: str, run: str) -> str:
    inside = os.path.relpath(path, run) if path == run or path.startswith(run + "/") else f"(outside)/{Path(path).name}"
    return RANDOM.sub(lambda match: "X" * len(match[0]), inside)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
