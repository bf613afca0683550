"""A person at a shell who presses TAB."""

import os
import pty
import select
import subprocess
from pathlib import Path

# A command of its own name says what it was called with, so that a line is seen as the shell took it.
ECHO = '() { printf "GOT:%s\\n" "$*"; }\n'
ALL = "\x18a"  # Ctrl-X a: put all that fits into the line
START = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}
PREPARE = {
    "bash": "bind 'set enable-bracketed-paste off'; bind '\"\\C-xa\": insert-completions'\n",
    "zsh": "autoload -Uz compinit; compinit -u -D\n"
    "zstyle ':completion:all-matches:*' old-matches only\n"
    "zstyle ':completion:all-matches::::' completer _all_matches\n"
    "zle -C all-matches complete-word _generic; bindkey '^Xa' all-matches\n",
}


def completed(shell: str, script: Path, typed: str, cwd: Path) -> str:
    """Given a completion script and a line of ckptkit's with TAB in it, return the words that ckptkit got."""
    if shell == "fish":
        return _fish(script, typed, cwd)
    return _got(shell, script, [f"ckptkit{ECHO}", f"{typed}\n"], cwd)


def exit_code(shell: str, script: Path, typed: str, cwd: Path) -> str:
    """The exit code of what was typed, as it stood after each TAB."""
    return _got(shell, script, [f"{typed}\n", 'printf "GOT:%s\\n" $?\n'], cwd)


def _got(shell: str, script: Path, lines: list[str], cwd: Path) -> str:
    load = f". {script}\n" if shell == "bash" else f'eval "$(cat {script})"\n'
    if shell == "zsh":
        lines = [line.replace(ALL, f"\t{ALL}") for line in lines]  # it takes the list that is shown
    seen = _at_a_terminal(START[shell], [PREPARE[shell], load, *lines, "exit\n"], cwd)
    got = [line.split("GOT:", 1)[1] for line in seen.splitlines() if line.startswith("GOT:")]
    assert got, seen
    return got[0].strip()


def _fish(script: Path, typed: str, cwd: Path) -> str:
    """fish tells what TAB would offer; the one that fits is what it would type."""
    asked = typed.replace("\t", "").replace(ALL, "")
    code = f"source {script}; complete -C {_quoted(asked)}"
    done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True, cwd=cwd)
    offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
    words = asked.split(" ")[1:-1]
    return " ".join([*words, *sorted(offered)])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def _at_a_terminal(command: tuple[str, ...], lines: list[str], cwd: Path) -> str:
    """All that came. A line is typed when the shell waits for one: it has drawn its prompt."""
    parent, child = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "PS1": "READY> ", "HOME": str(cwd or "/nonexistent")}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment, cwd=cwd,
                               start_new_session=True)  # fmt: skip
    os.close(child)
    seen = b""
    seen += _until(parent, b"READY> ")
    for line in "".join(lines).splitlines(keepends=True):
        os.write(parent, line.encode())
        seen += _until(parent, b"READY> ")
    os.close(parent)
    process.wait()
    return seen.decode(errors="replace").replace("\r", "\n")


def _until(terminal: int, prompt: bytes) -> bytes:
    seen = b""
    while prompt not in seen and select.select([terminal], [], [], 20)[0]:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # the shell has left
            break
        seen += block
    return seen
