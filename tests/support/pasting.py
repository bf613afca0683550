"""A person who copies each command that we print, and pastes it where it was printed."""

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.runs import CHECKOUT

VERBS = "|".join(sorted(path.name for path in (CHECKOUT / "bin").iterdir() if path.name not in ("test", "train")))
# One of ours, however it is spelled; whether it can be called so is what is tried.
OURS = re.compile(rf"(?:[^\s`'\"(]*/bin/|(?<![\w/])bin/|[^\s`'\"(]*\bckptkit )(?:{VERBS})\b(?:(?!  )[^;`)|])*")
FIX = re.compile(r"\bfix: (.+)")
COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07")
PLACEHOLDERS = {"RUN", "CKPT", "FILE", "PATH", "N", "METRIC", "CHECKPOINT", "DEST", "PID"}
FILE_TOOLS = {"mv", "rm", "rmdir", "cp", "chmod", "mkdir", "ln", "truncate", "find", "du"}
# Other programs act on the machine, or are not on every box: known by name is enough.
PROGRAMS = {
    "apt-get", "chattr", "conda", "crontab", "df", "dmesg", "docker", "fuser", "hf", "kill", "lsof", "mount", "nohup",
    "pip", "python", "python3", "quota", "screen", "service", "ssh", "sudo", "systemctl", "systemd-run", "tmux",
    "truncate", "uv", "watch", "export", "ls", "tail", "cat", "huggingface-cli", "wandb", "journalctl", ":",
}  # fmt: skip
UNUSABLE = {2, 126, 127}  # usage; can't be called; not found


class Person(NamedTuple):
    """Who types: the words before a verb, where, and with what environment."""

    before: tuple[str, ...]  # ("ckptkit",); of bin/, the directory with a slash
    cwd: str
    environment: dict[str, str]

    def words(self, verb: str) -> list[str]:
        """The words that call a verb."""
        if self.before[-1].endswith("/"):
            return [self.before[-1] + verb]
        return [*self.before, *([verb] if verb else [])]


def install(folder: Path) -> Path:
    """As pip leaves it: a virtual environment with the package in it and its console script; returns its bin/."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next(Path(folder).glob("lib/python3*/site-packages"))
    shutil.copytree(CHECKOUT / "ckptkit", packages / "ckptkit", ignore=shutil.ignore_patterns("__pycache__"))
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    script = Path(folder, "bin/ckptkit")
    script.write_text(f"#!{folder}/bin/python\nfrom ckptkit.cli import main\nmain()\n")
    script.chmod(0o755)
    return Path(folder, "bin")


def said(person: Person, verb: str, words: list[str], terminal: bool, typed: str = "\n") -> str:
    """All that a call prints, on a terminal 80 columns wide, or into a file as cron has it."""
    command = [*person.words(verb), *words]
    line = shlex.join(command)
    if not terminal:
        done = subprocess.run(["bash", "-c", line], cwd=person.cwd, env=person.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        return done.stdout
    parent, child = pty.openpty()
    os.write(parent, typed.encode())
    process = subprocess.Popen(["bash", "-c", line], cwd=person.cwd, stdin=child, stdout=child, stderr=child,
                               env=person.environment | {"TERM": "xterm", "COLUMNS": "80"})  # fmt: skip
    os.close(child)
    seen = b""
    while True:
        try:
            block = os.read(parent, 65536)
        except OSError:  # the process ended
            break
        seen += block
    os.close(parent)
    process.wait()
    return COLOURS.sub("", seen.decode(errors="replace")).replace("\r\n", "\n")


def commands(text: str) -> list[str]:
    """Each command in what was printed: what stands after `fix:`, and any call of ours up to the end of its clause."""
    found = []
    for line in _lines(text):
        fix = FIX.search(line)
        if fix:
            found.append(fix[1].strip())
            line = line[: fix.start()]
        if not line.startswith("usage: "):
            found += [match[0].rstrip(" .,:)\"'") for match in OURS.finditer(line)]
    return list(dict.fromkeys(found))


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        try:
            yield from _texts(json.loads(line))
        except ValueError:
            yield line


def _texts(value: Any, key: str = "") -> Iterator[str]:
    """Every text of a document; a field `command` is one."""
    if isinstance(value, str):
        yield from ([f"fix: {value}"] if key == "command" and value else value.split("\n"))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)


def fault(command: str, person: Person, state: str, spare: str) -> str:
    """What is wrong with a command that was printed, "" if it can be pasted. state: a folder that it may change.

    spare: a folder with a copy of it, which is put back afterwards.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        return f"no shell command: {error}"
    if left := PLACEHOLDERS & {part for word in words for part in word.split("/")}:
        return f"has {', '.join(left)} in it, which is no name"
    if not _may_run(words, str(state)):
        program = words[0].lstrip("(")
        known = program in PROGRAMS or shutil.which(program, path=person.environment["PATH"])
        return "" if known else f"{program} is no program here, nor one that is known"
    if "monitor" in words and "--once" not in words:
        command += " --once"  # else it goes on for ever
    if _is(words, "cron"):
        command += " --dry-run"  # the crontab is the machine's own, and tmux too
    code, printed = _pasted(command, person)
    restore(state, spare, words)
    return f"exits {code}: {printed.strip()[-300:]}" if code in UNUSABLE else ""


def _is(words: list[str], verb: str) -> bool:
    """Whether a command is this verb of ours."""
    return verb in words[1:4] or words[0].endswith(f"/bin/{verb}")


def restore(state: str, spare: str, words: list[str]) -> None:
    """Make the folder what its copy is, after words that may have changed it."""
    if {"-n", "--dry-run", "--help", "--explain", "--once"} & set(words):
        return
    for name in os.listdir(state):
        path = os.path.join(state, name)
        shutil.rmtree(path) if os.path.isdir(path) and name != "elsewhere" else None
    shutil.copytree(spare, state, symlinks=True, dirs_exist_ok=True)


def _may_run(words: list[str], state: str) -> bool:
    """Ours, and what touches nothing beside the state."""
    if OURS.match(" ".join(words)):
        return True
    paths = [word for word in words[1:] if word.startswith("/")]
    return words[0] in FILE_TOOLS and bool(paths) and all(path.startswith(state + "/") for path in paths)


def _pasted(command: str, person: Person) -> tuple[int, str]:
    """(exit code, what it printed)."""
    done = subprocess.run(["bash", "-c", command], cwd=person.cwd, env=person.environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    return done.returncode, done.stdout
