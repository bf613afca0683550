"""Another box, through this box's own ssh and rsync: each command is built by a pure function and run by `run`.

The other box needs sshd, sh and rsync. What is asked of its shell goes to `sh` on standard input, whatever the login
shell there is; paths go through rsync's protected arguments, so any name survives.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.errors import RemoteFailed, UsageError
from ckptkit.model.checkpoint import MOVING, OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PREFIX = "ssh:"
ADDRESS = re.compile(r"ssh:(\[[^\]]+\]|[^:\[\]]+):(.+)", re.DOTALL)
SAYS = "ckptkit:"  # what a shell's own greeting prints is not an answer
CONNECT_SECONDS, ALIVE_SECONDS, ALIVE_TIMES = 20, 15, 8
NETWORK_CODES = frozenset({10, 12, 30, 35, 255})  # rsync(1): socket, protocol stream, timeouts; ssh's own
GONE_CODES = frozenset({23, 24})  # some of the files could not be read, or vanished
NO_ROOM = ("No space left on device", "Disk quota exceeded")
PR_SET_PDEATHSIG = 1


class Address(NamedTuple):
    """ssh:HOST:PATH as typed; host as ssh takes it, with a user or a name of ssh_config."""

    host: str
    path: str


class Done(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """What ssh or rsync said last, for a person."""
        lines = [line for line in self.err.splitlines() if line.strip() and not line.startswith("rsync error:")]
        return lines[-1].strip() if lines else f"it ended with code {self.code}"

    @property
    def no_room(self) -> bool:
        """Whether it failed because a disk or a quota is full."""
        return any(words in self.err for words in NO_ROOM)


class RemoteDirectory(NamedTuple):
    """What the other box says about DEST.

    existing: the nearest directory that is there, real; folder: where DEST is or will be. is_file: one of its parts is
    a file. boot: the kernel's own number of its start; device, filesystem: of `existing`.
    there: {name: inode and time of change}.
    """

    folder: str
    existing: str
    is_file: bool
    home: str
    boot: str
    device: int
    available_bytes: int
    there: dict[str, str]
    staged_bytes: dict[str, int]
    lacks: tuple[str, ...]
    filesystem: str = ""
    names: tuple[str, ...] = ()  # of all that lies in DEST and has a number in its name


# --- what is typed ----------------------------------------------------------------------------------------------------


def address(dest: str) -> Address | None:
    """Given DEST as typed, return the box and the path if it names one, else None. Raises UsageError."""
    if not dest.startswith(PREFIX):
        return None
    match = ADDRESS.fullmatch(dest)
    host, path = match.groups() if match else ("", "")
    if not match or host.lstrip("[").startswith("-") or "\0" in path:
        raise UsageError(f"DEST {dest!r} must be ssh:HOST:PATH, such as ssh:me@box:/data/run")
    path = path.removeprefix("~/") or "."
    return Address(host, os.path.normpath(path))


def shell(typed: str, asks: bool) -> tuple[str, ...]:
    """Given --ssh-command (or RSYNC_RSH, or ""), return the words that call ssh; a dead line ends by itself.

    asks: whether a person is there to type a password; else ssh must not wait for one. Raises UsageError.
    """
    try:
        words = tuple(shlex.split(typed)) or ("ssh",)
    except ValueError as error:
        raise UsageError(f"--ssh-command {typed!r}: {error}") from None
    if os.path.basename(words[0]) != "ssh":
        return words
    options = [f"ConnectTimeout={CONNECT_SECONDS}", f"ServerAliveInterval={ALIVE_SECONDS}"]
    options += [f"ServerAliveCountMax={ALIVE_TIMES}", *([] if asks else ["BatchMode=yes"])]
    return (*words, *(word for option in options for word in ("-o", option)))


def require_tools(ssh: Sequence[str]) -> None:
    """Raise UsageError if rsync or ssh is not installed on this box."""
    for tool, package in (("rsync", "rsync"), (ssh[0], "openssh-client")):
        if shutil.which(tool) is None:
            raise UsageError(f"{tool} is not installed on this box; fix: apt-get install -y {package}")


# --- commands ---------------------------------------------------------------------------------------------------------

# -s: names reach rsync there as they are. -x: nothing that is mounted inside. No devices, no FIFOs.
ALWAYS = ("rsync", "-s", "-a", "-x", "--no-D", "--info=NONREG0")


def asking(ssh: Sequence[str], host: str) -> tuple[str, ...]:
    """The command that has `sh` on the other box read a script."""
    return (*ssh, host.strip("[]"), "sh")


def copying(ssh: Sequence[str], host: str, source: str, stage: str, single: bool, shown: bool) -> tuple[str, ...]:
    """The command that brings a checkpoint into its stage there; a file that is there in part is gone on with.

    shown: with its progress.
    """
    more = ("--info=progress2",) if shown else ()
    return (*ALWAYS, "--inplace", "--delete", *more, *_over(ssh), "--", *_ends(source, host, stage, single))


def comparing(
    ssh: Sequence[str], host: str, source: str, copy: str, single: bool, whole: bool = True
) -> tuple[str, ...]:
    """The command that lists each file that differs there, and writes nothing.

    whole: each byte is read on both boxes (rsync's checksums); else only sizes and times are compared. What we
    ourselves wrote beside the checkpoint's files does not count.
    """
    how = ("-n", *(["-c"] if whole else []), f"--exclude=/{OURS}*", f"--out-format={SAYS}%i %n")
    return (*ALWAYS, *how, *_over(ssh), "--", *_ends(source, host, copy, single))


def bringing(ssh: Sequence[str], host: str, sources: Iterable[str], folder: str) -> tuple[str, ...]:
    """The command that copies entries of the run into the folder there, unless what is there is newer."""
    return (*ALWAYS, "-u", *_over(ssh), "--", *sources, f"{host}:{folder}/")


def _over(ssh: Sequence[str]) -> tuple[str, ...]:
    return ("-e", " ".join(map(_quoted, ssh)))


def _quoted(word: str) -> str:
    """As rsync's -e takes it: in quotes, and a quote within them twice."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII) else "'" + word.replace("'", "''") + "'"


def _ends(source: str, host: str, copy: str, single: bool) -> tuple[str, str]:
    """A directory's own content goes into the directory there; a single file into the directory under its name."""
    return (source if single else f"{source}/"), f"{host}:{copy}/"


# --- scripts for sh ---------------------------------------------------------------------------------------------------


def looking(path: str, names: Iterable[str]) -> str:
    """The script that tells what is there, and changes nothing. Its answer is for `found`."""
    return f"""
say() {{ printf '{SAYS}%s %s\\n' "$1" "$2"; }}
path={shlex.quote(path)}
top=$path
while [ ! -e "$top" ] && [ ! -L "$top" ]; do
  case $top in /*/*|[!/]*/*) top=${{top%/*}} ;; /*) top=/ ;; *) top=. ;; esac
done
for tool in rsync stat df; do command -v "$tool" >/dev/null 2>&1 || say lacks "$tool"; done
[ -d "$top" ] || {{ say file "$top"; exit 0; }}
say top "$top"
say existing "$(cd -- "$top" && pwd -P)"
say home "$HOME"
say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
say device "$(stat -L -c %d -- "$top" 2>/dev/null)"
say filesystem "$(stat -f -c %T -- "$top" 2>/dev/null)"
say df "$(LC_ALL=C df -P -k -- "$top" | tail -n 1)"
for name in {" ".join(map(shlex.quote, names))}; do
  if [ -e "$path/$name" ] || [ -L "$path/$name" ]; then
    say there "$(stat -c %i:%Z -- "$path/$name" 2>/dev/null) $name"
  fi
  [ ! -d "$path/{MOVING}$name" ] || say staged "$(du -s -k -- "$path/{MOVING}$name" | cut -f 1) $name"
done
for entry in "$path"/*[0-9]*; do [ ! -e "$entry" ] || say name "${{entry##*/}}"; done
say end .
"""


def making(folder: str) -> str:
    """The script that makes the folder there. A link where a stage of ours would lie goes: rsync would follow it."""
    return f"""
mkdir -p -- {shlex.quote(folder)} && cd -- {shlex.quote(folder)} || exit 1
for stage in {MOVING}*; do
  [ ! -L "$stage" ] || rm -f -- "$stage" || exit 1
done
echo {SAYS}done
"""


def finishing(folder: str, name: str, single: bool) -> str:
    """The script that gives a proved copy its name, durably, unless something has it by now."""
    stage = MOVING + name
    move = 'mv -- "$stage/$name" "$name" && rmdir -- "$stage"' if single else 'mv -- "$stage" "$name"'
    return f"""
stage={shlex.quote(stage)} name={shlex.quote(name)}
cd -- {shlex.quote(folder)} || exit 1
[ ! -L "$stage" ] || exit 1
if [ -e "$name" ] || [ -L "$name" ]; then echo {SAYS}taken; exit 0; fi
sync
{move} && sync && echo {SAYS}done
"""


def adding(folder: str, file: str, names: Iterable[str]) -> str:
    """The script that adds names, one a line, to those in a file of the folder there."""
    return f"""
cd -- {shlex.quote(folder)} || exit 1
[ -z "$(tail -c 1 {file} 2>/dev/null)" ] || echo >>{file}
for name in {" ".join(map(shlex.quote, sorted(names)))}; do
  grep -qxF -e "$name" {file} 2>/dev/null || printf '%s\\n' "$name" >>{file} || exit 1
done
echo {SAYS}done
"""


def dropping(folder: str, name: str) -> str:
    """The script that removes a stage of ours."""
    return f"cd -- {shlex.quote(folder)} && rm -rf -- {shlex.quote(MOVING + name)} && echo {SAYS}done"


def read_answer(answer_text: str, path: str) -> RemoteDirectory:
    """Given what the script of `looking` said of a path, return it as values. Raises RemoteFailed if it broke off."""
    answers: dict[str, list[str]] = {}
    for line in answer_text.splitlines():
        if line.startswith(SAYS):
            key, _, value = line.removeprefix(SAYS).partition(" ")
            answers.setdefault(key, []).append(value)
    if "file" in answers:
        return RemoteDirectory(path, path, True, "", "", 0, 0, {}, {}, tuple(answers.get("lacks", ())))
    if "end" not in answers:
        raise RemoteFailed("the other box gave no whole answer: try again")
    first = {key: values[0] for key, values in answers.items()}
    rest = path if first["top"] == "." else os.path.relpath(path, first["top"])
    room = re.search(r"\s(\d+)\s+(?:\d+%|-)\s", first["df"])
    there = (value.split(" ", 1) for value in answers.get("there", ()))
    staged = (value.split(" ", 1) for value in answers.get("staged", ()))
    return RemoteDirectory(
        folder=os.path.normpath(os.path.join(first["existing"], rest)),
        existing=first["existing"],
        is_file=False,
        home=first["home"],
        boot=first["boot"],
        device=int(first["device"] or -1),
        available_bytes=int(room[1]) * 1024 if room else 0,
        there={name: identity for identity, name in there},
        staged_bytes={name: int(kilobytes or 0) * 1024 for kilobytes, name in staged},
        lacks=tuple(answers.get("lacks", ())),
        filesystem=first["filesystem"],
        names=tuple(answers.get("name", ())),
    )


def differences(said: str) -> list[str]:
    """Given what the command of `comparing` said, return the names of what differs; attributes alone do not."""
    lines = (line.removeprefix(SAYS) for line in said.splitlines() if line.startswith(SAYS))
    return [line.partition(" ")[2] for line in lines if not line.startswith(".")]


# --- the one place where they run -------------------------------------------------------------------------------------


def run(words: Sequence[str], script: str = "", shown: bool = False) -> Done:
    """Run one command to its end; it ends with us, if we are killed. script: its standard input.

    shown: its output goes to the terminal. Raises UsageError if it is not installed.
    """
    environment = os.environ | {"LC_ALL": "C"}
    try:
        # Not sh, which reads all output itself: progress belongs on the terminal, and a full box may have no package.
        done = subprocess.run(
            words, input=script.encode("utf-8", "surrogateescape"), env=environment, check=False,
            stdout=sys.stderr.fileno() if shown else subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_end_with_us,
        )  # fmt: skip
    except FileNotFoundError:
        raise UsageError(f"{words[0]} is not installed on this box") from None
    out, err = ((raw or b"").decode("utf-8", "surrogateescape") for raw in (done.stdout, done.stderr))
    return Done(done.returncode, out, err)


def _end_with_us() -> None:
    """prctl(2): a copy must not go on behind the back of the next call."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
