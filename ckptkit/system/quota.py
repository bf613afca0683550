"""What may be used of a volume, where a quota says so. A save fails at it with EDQUOT while `df` shows room.

A user's is asked of `quota` (quota-tools), which knows every file system's way, NFS included, but Btrfs: that limits a
subvolume, and tells root alone. Project quotas of XFS and ext4 need no asking: statvfs shows them as the volume's size.
"""

import re
from collections.abc import Iterator, Sequence

from ckptkit.model.disk import Quota, Volume
from ckptkit.system.tools import call

COMMAND = ("quota", "--no-wrap", "--raw-grace", "--show-mntpoint", "--hide-device", "--quiet-refuse")
SUBVOLUME = ("btrfs", "qgroup", "show", "-F", "-re", "--raw")
SECONDS = 5.0  # a server that does not answer must not hold the report up
BLOCK_BYTES = 1024  # quota(1) counts these
# mount point, then blocks, soft and hard limit, grace, and the same of files; * marks what is above its soft limit.
LINE = re.compile(r"\s*(\S.*?)\s+(\d+)\*?\s+(\d+)\s+(\d+)\s+\d+\s+(\d+)\*?\s+(\d+)\s+(\d+)\s+\d+\s*")
# of a group: what it refers to, and what nobody else does; the limit of each, or "none"
GROUP = re.compile(r"\d+/\d+\s+(\d+)\s+(\d+)\s+(\d+|none)\s+(\d+|none)\b")


def quotas(volumes: Sequence[Volume]) -> tuple[Quota, ...]:
    """Given volumes, return the quotas that hold there; none where nobody can tell, or nobody answers.

    Raises NotInstalled.
    """
    mounts = {volume.mount for volume in volumes}
    output = call(COMMAND, seconds=SECONDS).out  # also when it failed: it does where a quota is exceeded
    users = (quota for quota in _user_quotas(output) if quota.mount in mounts)
    subvolumes = (quota for volume in volumes if volume.filesystem == "btrfs" for quota in _subvolume(volume))
    return (*users, *subvolumes)


def _user_quotas(output: str) -> Iterator[Quota]:
    for line in output.splitlines():
        if match := LINE.fullmatch(line):
            used, soft, hard, files, soft_files, hard_files = map(int, match.groups()[1:])
            limit = (hard or soft) * BLOCK_BYTES  # 0: no limit
            yield Quota(match[1], used * BLOCK_BYTES, limit, files, hard_files or soft_files)


def _subvolume(volume: Volume) -> Iterator[Quota]:
    """The limits of all groups that the subvolume of a path counts into."""
    for line in call((*SUBVOLUME, volume.path), seconds=SECONDS).out.splitlines():
        if match := GROUP.match(line):
            for used, limit in ((match[1], match[3]), (match[2], match[4])):  # what it refers to, what is its own alone
                if limit != "none":
                    yield Quota(volume.path, int(used), int(limit), 0, 0, "the subvolume")
