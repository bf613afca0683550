"""Who runs this program: a user, what they typed, and whether cron or a terminal started it."""

import os
import sys

CRON = frozenset({"cron", "crond", "anacron", "fcron", "atd", "CRON"})
GENERATIONS = 12  # of parents: bash, timeout, nice, sh, cron


def who(program: str = "") -> tuple[str, str, str, int]:
    """Given the program's name if it is known, return user, program, "cron", "a terminal" or "", and the process."""
    own = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] not in ("", "-c", "-m") else "python"
    return _user(), program or own, _via(), os.getpid()


def _user() -> str:
    import pwd

    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    behind = os.environ.get("SUDO_USER")
    return f"{name} (sudo by {behind})" if behind else name


def _via() -> str:
    if any(name in CRON for name in _ancestors()):
        return "cron"
    return "a terminal" if any(os.isatty(fd) for fd in (0, 1, 2)) else ""


def _ancestors() -> list[str]:
    """Names of the parents, nearest first."""
    names: list[str] = []
    process = os.getppid()
    try:
        while process > 0 and len(names) < GENERATIONS:
            with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
                # pid (name) state parent ...: the name may hold blanks and brackets (proc(5))
                before, _, after = file.read().rpartition(")")
            names.append(before.partition("(")[2])
            process = int(after.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return names
