"""What the volume has free, measured after it had a moment to give blocks back."""

import os
import time

SETTLE_SECONDS = 2.0  # xfs and btrfs give blocks back a moment after the unlink


def settled_free_bytes(run_fd: int, at_least: int) -> int:
    """Free bytes of the run's volume, waiting up to SETTLE_SECONDS for them to reach `at_least`."""
    deadline = time.monotonic() + SETTLE_SECONDS
    asked = False
    while (free := free_bytes(run_fd)) < at_least and time.monotonic() < deadline:
        if not asked and time.monotonic() > deadline - SETTLE_SECONDS * 0.9:
            asked = True
            _commit(run_fd)
        time.sleep(0.05)
    return free


def _commit(run_fd: int) -> None:
    """syncfs(2): btrfs gives blocks back with its next transaction, which is up to 30 seconds away."""
    import ctypes  # only here, where the bytes are not back yet

    ctypes.CDLL(None).syncfs(run_fd)


def free_bytes(run_fd: int) -> int:
    """Free bytes of the run's volume, root's reserve included: what a deletion gives back may refill that first."""
    status = os.fstatvfs(run_fd)
    return status.f_bfree * status.f_frsize
