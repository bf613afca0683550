"""What a user decided and what was seen, in small files of the user's state directory."""

from __future__ import annotations

import json
import os
import sys
import zlib
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ckptkit.system import small_files

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["policy", "root", "start", "turn"]  # what a small file keeps

# For a user without a home. Whatever is tried below it fails with ENOTDIR, and is forgotten like on any other disk.
NOWHERE = "/dev/null/ckptkit"


def state_directory() -> str:
    """Return its path; it need not exist."""
    if explicit := os.environ.get("CKPTKIT_STATE"):
        return explicit
    base = os.environ.get("XDG_STATE_HOME") or _home_state()
    return os.path.join(base, "ckptkit") if os.path.isabs(base) else NOWHERE


def _home_state() -> str:
    """As it stands where nobody knows a home: with its tilde, so not absolute."""
    place = "~/.local/state"
    return place if os.environ.get("HOME") == "" else os.path.expanduser(place)


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
    from ckptkit.system import processes

    parents = islice(processes.ancestors("self"), GENERATIONS)
    if any(processes.command_of(pid) in CRON for pid in parents):
        return "cron"
    return "a terminal" if any(os.isatty(fd) for fd in (0, 1, 2)) else ""


class Start(NamedTuple):
    """words: the command line. directory: where it was typed. log: the file that its output goes to, or ""."""

    words: tuple[str, ...]
    directory: str
    log: str


def remember_start(run: str, start: Start) -> str:
    """Given a run's real path and how its training started, keep that. Returns "" or the fault."""
    content = {"run": run, "words": start.words, "directory": start.directory, "log": start.log}
    return replace_file(file_of("start", run), content)


def recall_start(run: str) -> Start | None:
    """Given a run's real path, return how its last training started; None where nobody knows."""
    known = content_of("start", run, "run")
    words, rest = known.get("words"), (known.get("directory"), known.get("log"))
    if not isinstance(words, list) or not words or not all(isinstance(text, str) for text in (*words, *rest)):
        return None
    return Start(tuple(words), *map(str, rest))


def remember_policy(run: str, policy: object) -> None:
    """Given a run's path and its policy as JSON values, keep it as agreed to, if it differs from what is known."""
    known = _known(run)
    if known.keys() - {"run"} == {"policy"} and known["policy"] == _plain(policy):
        return
    replace_file(file_of("policy", run), {"run": run, "policy": policy})


def remember_room(run: str, policy: object, count: int) -> str:
    """Given a policy that waits for a yes, keep how many intact checkpoints went for room. Returns "" or the fault."""
    return replace_file(file_of("policy", run), _known(run) | {"run": run, "room": [policy, count]})


def recall_room(run: str, policy: object) -> int:
    """How many intact checkpoints went for room since this policy waits for a yes."""
    try:
        waits, count = _known(run)["room"]
        return int(count) if waits == _plain(policy) else 0
    except (KeyError, TypeError, ValueError):
        return 0


def is_news(run: str, waiting: list[str]) -> bool:
    """Whether something else than `waiting` was told of this run the last time; it is remembered from now on."""
    known = _known(run)
    if known.get("told") == waiting:
        return False
    replace_file(file_of("policy", run), known | {"run": run, "told": waiting})
    return True


def recall_policy(run: str) -> Any:
    """Given a run's path, return the policy as remembered, or None."""
    return _known(run).get("policy")


def remember_root(root: str, policy: object, own: Mapping[str, object]) -> str:
    """Given a directory above runs, keep a policy as agreed to for each run below it. Returns "" or the fault.

    own: {run: its policy} of those whose own settings say otherwise; it is agreed to for that run alone.
    """
    return replace_file(file_of("root", root), {"root": root, "policy": policy, "own": own})


def recall_root(root: str, run: str = "") -> list[Any]:
    """The policies that were agreed to for each run below a directory, and for one run there."""
    known = content_of("root", root, "root")
    own = known.get("own")
    policies = [known.get("policy"), own.get(run) if isinstance(own, dict) else None]
    return [policy for policy in policies if policy is not None]


def recall_roots_of(run: str) -> list[Any]:
    """The policies that were agreed to for a run because it lies at or below a directory."""
    place, policies = run, recall_root(run, run)
    while place != (place := os.path.dirname(place)):
        policies += recall_root(place, run)
    return policies


def forget_root(root: str) -> None:
    """Take the yes for a directory back."""
    if recall_root(root):
        _forget(file_of("root", root))


def _known(run: str) -> dict[str, Any]:
    return content_of("policy", run, "run")


def file_of(kind: Kind, path: str) -> str:
    """Given what is kept ("policy", "root", ...) and the path that it is about, return its file."""
    # A checksum keeps the name short; the path itself inside the file settles a collision.
    return os.path.join(state_directory(), f"{kind}-{zlib.crc32(os.fsencode(path)):08x}.json")


def content_of(kind: Kind, path: str, key: str) -> dict[str, Any]:
    """Given as in `file_of`, and where the content names that path, return it; {} if nothing is kept for it."""
    try:
        with open(file_of(kind, path), encoding="utf-8", errors="surrogateescape") as opened:
            known = json.load(opened)
        return known if isinstance(known, dict) and known.get(key) == path else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _plain(value: object) -> object:
    """As it comes back from JSON: tuples as lists."""
    return json.loads(json.dumps(value))


def replace_file(path: str, content: Mapping[str, object]) -> str:
    """Given a path and JSON values, put them there in one step. Returns "" or why that failed."""
    try:
        small_files.ensure_directory(os.path.dirname(path))
        small_files.replace_at(path, json.dumps(content).encode(), durable=False)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def next_turn(path: str) -> int:
    """Given what a sampling sweep is of, return 0, 1, 2, ... from call to call; 0 for ever where none can be kept."""
    file = file_of("turn", path)
    try:
        with open(file, encoding="utf-8") as known:
            turn = int(json.load(known)["turn"])
    except (OSError, ValueError, KeyError, TypeError):
        turn = 0
    replace_file(file, {"path": path, "turn": turn + 1})
    return turn


def _forget(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
