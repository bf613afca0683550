"""move to another volume of this box: where it may go, and one checkpoint copied there, read back and proved."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptkit import calling, delete, layouts
from ckptkit.errors import CkptkitError, UsageError
from ckptkit.model.checkpoint import MOVING, OURS, Checkpoint, Leftover, Run
from ckptkit.model.decision import Failure
from ckptkit.ops.latest import latest
from ckptkit.ops.read import judge
from ckptkit.policy.keep import first_finding
from ckptkit.runs import discover, pins
from ckptkit.store import local
from ckptkit.system import lock, volumes
from ckptkit.verify.verdict import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ckptkit.model.checkpoint import File

PROOF = "each file read back there and compared by SHA-256, and the copy verified at level full"
MEMORY = ("tmpfs", "ramfs")
BOX = re.compile(r"[\w.@-]+:.")  # as scp and rsync write another box
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_ITSELF = "{} seems to be {} itself: name another directory"


class NotCopied(Exception):
    """One checkpoint is not proved at DEST. no_room: because DEST is full. The message says why."""

    def __init__(self, why: str, no_room: bool = False) -> None:
        super().__init__(why)
        self.no_room = no_room


class Here:
    """A directory of another volume."""

    host, proof = "", PROOF

    def __init__(
        self, dest: str, run: str, trust: Sequence[str], progress: Callable[[int], None], lock_timeout: float = 0.0
    ) -> None:
        """lock_timeout: seconds to wait for another move or sweep at work there.

        Raises UsageError if a copy of the run can't be meant to lie there; nothing was changed."""
        discover.refuse_empty(dest)
        self.dest = self.folder = os.path.realpath(dest)
        self._run, self._trust, self._progress, self._lock_timeout = run, tuple(trust), progress, lock_timeout
        self._device: int | None = None
        try:
            discover.refuse_system_directory(self.folder)
        except UsageError:
            why = f"{self.folder} is a system or home directory"
            raise UsageError(f"refusing {dest!r}: {why}; name a directory on another volume") from None
        if self.folder == run or self.folder.startswith(f"{run}/"):
            raise UsageError(f"DEST {dest!r} is {run} itself, or lies in it: name a directory on another volume")
        if BOX.match(dest) and not os.path.lexists(dest):
            again = calling.again(dest, f"ssh:{dest}")
            fix = f"; fix: {again}" if again else ""
            raise UsageError(f"DEST {dest!r}: another box is written ssh:HOST:PATH{fix}")
        self._place = volumes.nearest_directory(self.folder, os.path.lexists)
        if not os.path.isdir(self._place):
            raise UsageError(f"DEST {dest!r}: {self._place} is a file: name a directory on another volume")
        if _one_volume(run, self._place):
            raise UsageError(
                f"DEST {dest!r} is on the same volume as {run}: a copy there frees nothing and is lost with it; "
                "name a directory on another volume (df -h lists them), or ssh:HOST:PATH"
            )

    @property
    def lasts(self) -> str:
        """Why a copy there would not outlive a restart, "" if it does."""
        filesystem = volumes.volume(self._place).filesystem
        return f"{self.folder} lies in memory ({filesystem})" if filesystem in MEMORY else ""

    def available_bytes(self) -> int:
        """What may still be written there."""
        return volumes.available_bytes(self._place)

    def there(self, names: Iterable[str]) -> Mapping[str, str]:
        """Of these names, those that something at DEST has."""
        return {name: "" for name in names if os.path.lexists(os.path.join(self.folder, name))}

    def need_bytes(self, checkpoint: Checkpoint) -> int:
        """What a copy takes there beyond what a call that broke off has copied."""
        block = os.statvfs(self._place).f_frsize
        names = [*checkpoint.directories, *("" for _ in range(2))]
        files = sum(-(-file.apparent_bytes // block) * block for file in checkpoint.files)
        return max(0, files + block * len(names) - _allocated(self._stage(checkpoint)))

    def prepare(self) -> None:
        """Make DEST. Raises UsageError, also where it is the run itself by another mount, such as sshfs or NFS."""
        try:
            os.makedirs(self.folder, mode=stat.S_IMODE(os.stat(self._run).st_mode), exist_ok=True)
            self._device = os.lstat(self.folder).st_dev
        except OSError as error:
            raise UsageError(f"{self.folder} can't be made: {error.strerror}; nothing was copied") from None
        if self._shows_in_the_run():
            raise UsageError(_ITSELF.format(self.folder, self._run))

    def put(self, checkpoint: Checkpoint) -> None:
        """Copy it under a temporary name, prove it, and give it its own. Raises NotCopied, LockHeld."""
        stage = self._stage(checkpoint)
        try:
            self._require_there()
            with lock.hold(self.folder, self._lock_timeout):  # two runs may be moved into one DEST
                self._begin(checkpoint, stage)
                digests = self._copy(checkpoint, stage)
                staged = os.path.join(stage, checkpoint.name) if checkpoint.single else stage
                if why := self._difference(checkpoint, staged, digests):
                    self._drop(stage)
                    raise NotCopied(why)
                self._publish(checkpoint, staged, stage)
        except OSError as error:
            if error.errno in NO_ROOM or discover.is_gone(checkpoint.path):
                self._drop(stage)
            raise NotCopied(_in_words(error, checkpoint), error.errno in NO_ROOM) from None

    def compare(self, checkpoint: Checkpoint) -> None:
        """Prove the one that is there already. Raises NotCopied, UsageError if it is the source."""
        try:
            self._require_there()
            if self._is_source(checkpoint):
                raise UsageError(_ITSELF.format(self.at(checkpoint), checkpoint.path))
            why = self._difference(checkpoint, self.at(checkpoint), {})
        except OSError as error:
            raise NotCopied(_in_words(error, checkpoint)) from None
        if why:
            raise NotCopied(why)

    def still(self, checkpoint: Checkpoint) -> bool:
        """Whether what was proved there is there as it was, by sizes and times."""
        with suppress(OSError):
            self._require_there()
            if os.path.realpath(self.at(checkpoint)) != self.at(checkpoint) or self._is_source(checkpoint):
                return False
            copies = (os.lstat(os.path.join(self._root(checkpoint), file.name)) for file in _own(checkpoint))
            return all(
                (status.st_size, status.st_mtime) == (file.apparent_bytes, file.modified_at)
                for file, status in zip(_own(checkpoint), copies, strict=True)
            )
        return False

    def bring(self, names: Iterable[str]) -> list[Failure]:
        """Copy entries of the run that are no checkpoints, unless what is there is newer; what fails is data."""
        failures = []
        for name in names:
            try:
                self._bring(os.path.join(self._run, name), os.path.join(self.folder, name))
            except (OSError, UsageError) as error:
                why = getattr(error, "strerror", None) or error
                failures.append(Failure(os.path.join(self._run, name), f"not copied: {why}"))
        return failures

    def at(self, checkpoint: Checkpoint) -> str:
        """Its path there."""
        return os.path.join(self.folder, checkpoint.name)

    def going_on(self, checkpoint: Checkpoint) -> str:
        """What resumes from it there."""
        return layouts.by_name(checkpoint.layout).going_on(self.at(checkpoint))

    def newest(self) -> Checkpoint | None:
        """What a training there would go on from, None if there is none."""
        try:
            return latest(self.folder, trust=self._trust).checkpoint
        except CkptkitError:
            return None

    def newer(self, than: Checkpoint) -> str:
        """Nothing: `newest` has looked at all that is there."""
        return ""

    def set_aside(self, checkpoint: Checkpoint) -> str:
        """The command that renames what is in the way there, so that the next call copies it."""
        from shlex import join

        return join(["mv", "-T", self.at(checkpoint), os.path.join(self.folder, f"set-aside-{checkpoint.name}")])

    # --- one checkpoint -----------------------------------------------------------------------------------------------

    def _stage(self, checkpoint: Checkpoint) -> str:
        return os.path.join(self.folder, MOVING + checkpoint.name)

    def _root(self, checkpoint: Checkpoint) -> str:
        return self.folder if checkpoint.single else self.at(checkpoint)

    def _require_there(self) -> None:
        """Raise OSError if another directory lies at DEST by now: its volume was unmounted, or a link laid there."""
        with suppress(FileNotFoundError):
            status = os.lstat(self.folder)
            if stat.S_ISDIR(status.st_mode) and status.st_dev == (self._device or status.st_dev):
                return
        raise OSError(errno.ESTALE, f"{self.folder} is not the directory that it was: was its volume unmounted?")

    def _shows_in_the_run(self) -> bool:
        """Whether a file of ours at DEST is seen in the run. Its name is new, so nobody's cache knows it."""
        probe, before = f"{MOVING}{secrets.token_hex(8)}", os.stat(self.folder)
        try:
            os.close(os.open(os.path.join(self.folder, probe), local.WRITE | os.O_EXCL, 0o600))
        except OSError:  # full, or read-only: each copy will tell
            return False
        try:
            return os.path.lexists(os.path.join(self._run, probe))
        finally:
            with suppress(OSError):
                os.unlink(os.path.join(self.folder, probe))
                os.utime(self.folder, ns=(before.st_atime_ns, before.st_mtime_ns))

    def _is_source(self, checkpoint: Checkpoint) -> bool:
        """Whether a file there is the source's own: an overlay shows it so, or a link. No copy has both by chance."""
        for file in _own(checkpoint):
            here = os.stat(os.path.join(checkpoint.folder, file.name))
            with suppress(FileNotFoundError):
                there = os.stat(os.path.join(self._root(checkpoint), file.name))
                if (here.st_ino, here.st_ctime_ns) == (there.st_ino, there.st_ctime_ns):
                    return True
        return False

    def _begin(self, checkpoint: Checkpoint, stage: str) -> None:
        """A stage that is there is gone on with, if it holds nothing but what the checkpoint has."""
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(stage).st_mode) or not _listing(stage) <= _names(checkpoint):
                self._drop(stage)
        os.makedirs(stage, mode=0o700, exist_ok=True)

    def _copy(self, checkpoint: Checkpoint, stage: str) -> dict[str, str]:
        if not checkpoint.single:
            digests = local.tree(checkpoint.path, stage, self._progress)
        else:
            digests = {checkpoint.name: local.file(checkpoint.path, f"{stage}/{checkpoint.name}", self._progress)}
        local.durable(stage)
        return digests

    def _publish(self, checkpoint: Checkpoint, staged: str, stage: str) -> None:
        if os.path.lexists(self.at(checkpoint)):
            raise OSError(errno.EEXIST, "something of that name came there meanwhile")
        os.rename(staged, self.at(checkpoint))
        if checkpoint.single:
            self._drop(stage)
        local.durable(self.folder)

    def _drop(self, stage: str) -> None:
        """Remove a stage of ours; what can't be removed is no checkpoint to anybody, and the next call tries again."""
        with suppress(OSError), lock.open_directory(self.folder) as fd:
            single = not stat.S_ISDIR(os.lstat(stage).st_mode)
            delete.remove_leftover(fd, Leftover(stage, os.path.basename(stage), 0, single), [])

    def _difference(self, checkpoint: Checkpoint, copy: str, digests: Mapping[str, str]) -> str:
        """Why the copy does not count, "" if it is proved. digests: of what was read here. Raises OSError."""
        copied = _as_found(checkpoint, copy)
        sizes = {file.name: file.apparent_bytes for file in copied.files}
        for file in _own(checkpoint):
            if sizes.get(file.name) != file.apparent_bytes:
                return f"{copy} lacks {file.name}, or it is of another size there"
        reading = WHOLE._replace(digests=("sha256",), pickles=True, trust=self._trust)
        (judged,) = judge(Run(self.folder, (copied,)), level="full", quiet=0, reading=reading) or (None,)
        read = {name: digest.digests["sha256"] for name, digest in (judged.verdict.digests if judged else ())}
        for file in _own(checkpoint):
            here = digests.get(file.name) or local.digest(os.path.join(checkpoint.folder, file.name))
            there = read.get(file.name) or local.digest(os.path.join(copied.folder, file.name))
            if here != there:
                return f"{file.name} differs at {copy}"
        if judged is None or not judged.verdict.intact or judged.verdict.files_unread:
            why = first_finding(judged) if judged and judged.verdict.findings else "not all of it could be read"
            return f"{checkpoint.path} is not intact, as its bytes show: {why}"
        return ""

    def _bring(self, source: str, copy: str) -> None:
        if os.path.basename(source) == pins.FILE:  # those of a run that is there already stay pinned
            pins.write(self.folder, pins.read(self._run) | pins.read(self.folder))
            return
        if os.path.isdir(source):
            os.makedirs(copy, exist_ok=True)
            for name, status, _, _ in local.entries(source):
                if stat.S_ISDIR(status.st_mode):
                    os.makedirs(os.path.join(copy, name), exist_ok=True)
                elif stat.S_ISREG(status.st_mode):
                    self._bring(os.path.join(source, name), os.path.join(copy, name))
            return
        with suppress(FileNotFoundError):
            if os.lstat(copy).st_mtime_ns >= os.lstat(source).st_mtime_ns:
                return
        draft = os.path.join(os.path.dirname(copy), MOVING + os.path.basename(copy))
        local.file(source, draft, self._progress)
        os.replace(draft, copy)


def _one_volume(run: str, place: str) -> bool:
    """Whether both lie on one file system: by its number, or, as of Btrfs's subvolumes, by its device."""
    if os.stat(run).st_dev == os.stat(place).st_dev:
        return True
    one, other = volumes.volume(run), volumes.volume(place)
    return one.device == other.device and "/" in one.device


def _own(checkpoint: Checkpoint) -> list[File]:
    """Its files, without what we wrote beside them: a manifest may be written while it is copied."""
    return [file for file in checkpoint.files if not file.name.startswith(OURS)]


def _names(checkpoint: Checkpoint) -> set[str]:
    links = {problem.file for problem in checkpoint.problems}
    return {file.name for file in checkpoint.files} | set(checkpoint.directories) | links


def _listing(stage: str) -> set[str]:
    return {name for name, _, _, _ in local.entries(stage)}


def _allocated(stage: str) -> int:
    """What a call that broke off has copied whole: a file that is not done is copied again, in the same place."""
    with suppress(OSError):
        return sum(status.st_blocks * 512 for _, status, _, _ in local.entries(stage))
    return 0


def _as_found(checkpoint: Checkpoint, copy: str) -> Checkpoint:
    """The copy as a checkpoint of the same name and layout, whatever it is called as yet. Raises OSError."""
    if checkpoint.single:
        return discover.checkpoint(copy)
    return discover.named_as(copy, checkpoint.name)._replace(layout=checkpoint.layout)


def _in_words(error: OSError, checkpoint: Checkpoint) -> str:
    if discover.is_gone(checkpoint.path):
        return f"{checkpoint.path} was deleted while it was copied"
    return f"{error.strerror or error}"
