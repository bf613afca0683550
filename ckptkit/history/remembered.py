"""Small things between one call and the next: the policy of each run's last prune, so that a stricter one is asked
about, and whose turn it is in a verification that reads a part each time. Nothing here raises.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress

from ckptkit import careful
from ckptkit.history.place import state_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def remember_policy(run: str, policy: Any) -> None:
    """Given a run's path and its policy as JSON values, keep it if it differs from what is known."""
    if recall_policy(run) == json.loads(json.dumps(policy)):  # tuples come back as lists
        return
    _replace(_policy_file(run), {"run": run, "policy": policy})


def _replace(path: str, content: dict[str, Any]) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        careful.ensure_directory(os.path.dirname(path))
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(content, file)
        os.replace(temporary, path)
    except OSError:
        _forget(temporary)


def recall_policy(run: str) -> Any:
    """Given a run's path, return the policy as remembered, or None."""
    try:
        with open(_policy_file(run), encoding="utf-8", errors="surrogateescape") as file:
            known = json.load(file)
        return known["policy"] if known["run"] == run else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def next_turn(path: str) -> int:
    """Given what a sampling sweep is of, return 0, 1, 2, ... from call to call; 0 for ever where none can be kept."""
    file = os.path.join(state_directory(), f"turn-{zlib.crc32(os.fsencode(path)):08x}.json")
    try:
        with open(file, encoding="utf-8") as known:
            turn = int(json.load(known)["turn"])
    except (OSError, ValueError, KeyError, TypeError):
        turn = 0
    _replace(file, {"path": path, "turn": turn + 1})
    return turn


def _policy_file(run: str) -> str:
    # A checksum keeps the name short; the run's own path inside the file settles a collision.
    name = f"policy-{zlib.crc32(os.fsencode(run)):08x}.json"
    return os.path.join(state_directory(), name)


def _forget(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
