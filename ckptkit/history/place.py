"""Where the history lies: $CKPTKIT_STATE, else XDG's state directory, else ~/.local/state/ckptkit."""

import os

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
