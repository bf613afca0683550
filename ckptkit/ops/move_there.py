"""move to another box over ssh: what is there, and one checkpoint brought there and proved."""

from __future__ import annotations

import os
from shlex import join, quote
from typing import TYPE_CHECKING

from ckptkit import layouts
from ckptkit.errors import NoSuchRun, RemoteFailed, UsageError
from ckptkit.model.checkpoint import MOVING, Checkpoint
from ckptkit.model.decision import Failure
from ckptkit.ops.move_here import MEMORY, NotCopied
from ckptkit.ops.read import judge_again
from ckptkit.policy.keep import first_finding
from ckptkit.runs import discover, pins
from ckptkit.store import ssh
from ckptkit.verify.verdict import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PROOF = "verified here at level full, then each file read on both boxes and compared by rsync --checksum"


class There:
    """A directory of another box. Nothing here waits for a password where nobody can type one."""

    proof = PROOF

    def __init__(
        self, dest: str, address: ssh.Address, run: str, ssh_words: Sequence[str], trust: Sequence[str], shown: bool
    ) -> None:
        """Raises UsageError where rsync or ssh is missing on this box."""
        ssh.require_tools(ssh_words)
        self.dest, self.host, self.folder = dest, address.host, address.path
        self._run, self._ssh, self._trust, self._shown = run, tuple(ssh_words), tuple(trust), shown
        self._directory: ssh.RemoteDirectory | None = None

    @property
    def lasts(self) -> str:
        """Why a copy there would not outlive a restart, "" if it does, as asked by `there`."""
        filesystem = self._directory.filesystem if self._directory else ""
        return f"{self.folder} lies in memory on {self.host} ({filesystem})" if filesystem in MEMORY else ""

    def available_bytes(self) -> int:
        """What may still be written there, as asked by `there`."""
        return self._directory.available_bytes if self._directory else 0

    def there(self, names: Iterable[str]) -> Mapping[str, str]:
        """Of these names, those that something at DEST has. Raises RemoteFailed, UsageError if DEST can't be meant."""
        names = tuple(names)
        self._directory = ssh.read_answer(self._ask(ssh.looking(self.folder, names)).out, self.folder)
        self.folder = self._directory.folder
        self._require(self._directory)
        return {name: self._directory.there[name] for name in names if name in self._directory.there}

    def need_bytes(self, checkpoint: Checkpoint) -> int:
        """What a copy takes there beyond what a call that broke off has copied."""
        files = sum(-(-file.apparent_bytes // 4096) * 4096 for file in checkpoint.files)
        staged = self._directory.staged_bytes.get(checkpoint.name, 0) if self._directory else 0
        return max(0, files + 4096 * (len(checkpoint.directories) + 2) - staged)

    def prepare(self) -> None:
        """Make DEST there. Raises UsageError, RemoteFailed."""
        done = self._ask(ssh.making(self.folder))
        if f"{ssh.SAYS}done" not in done.out:
            raise UsageError(f"{self.folder} can't be made on {self.host}: {done.last_line}; nothing was copied")

    def put(self, checkpoint: Checkpoint) -> None:
        """Verify it here, copy it under a temporary name, prove it, give it its own. Raises NotCopied, RemoteFailed."""
        self._verify(checkpoint)
        stage = os.path.join(self.folder, MOVING + checkpoint.name)
        words = ssh.copying(self._ssh, self.host, checkpoint.path, stage, checkpoint.single, self._shown)
        done = self._run_rsync(words)
        if done.code:
            if done.no_room or discover.is_gone(checkpoint.path):
                self._ask(ssh.dropping(self.folder, checkpoint.name))
            raise NotCopied(self._why(done, checkpoint), done.no_room)
        if different := self._differences(checkpoint, stage):
            self._ask(ssh.dropping(self.folder, checkpoint.name))
            raise NotCopied(f"{different[0]} differs at {self.host}:{stage}")
        said = self._ask(ssh.finishing(self.folder, checkpoint.name, checkpoint.single))
        if f"{ssh.SAYS}done" not in said.out:
            taken = f"{ssh.SAYS}taken" in said.out
            raise NotCopied("something of that name came there meanwhile" if taken else said.last_line, said.no_room)

    def compare(self, checkpoint: Checkpoint) -> None:
        """Prove the one that is there already. Raises NotCopied, RemoteFailed, and UsageError if it is the source."""
        status = os.lstat(checkpoint.path)
        identity = self._directory.there.get(checkpoint.name, "") if self._directory else ""
        if identity in ("", f"{status.st_ino}:{int(status.st_ctime)}"):
            raise UsageError(f"{self.at(checkpoint)} seems to be {checkpoint.path} itself: name another directory")
        self._verify(checkpoint)
        if different := self._differences(checkpoint, self._root(checkpoint)):
            raise NotCopied(f"{different[0]} differs at {self.at(checkpoint)}")

    def still(self, checkpoint: Checkpoint) -> bool:
        """Whether what was proved there is there as it was, by sizes and times. Raises RemoteFailed."""
        try:
            return not self._differences(checkpoint, self._root(checkpoint), whole=False)
        except NotCopied:
            return False

    def bring(self, names: Iterable[str]) -> list[Failure]:
        """Copy entries of the run that are no checkpoints, unless what is there is newer; what fails is data."""
        names = tuple(names)
        failures = self._pin() if pins.FILE in names else []
        sources = [os.path.join(self._run, name) for name in names if name != pins.FILE]
        if not sources:
            return failures
        done = self._run_rsync(ssh.bringing(self._ssh, self.host, sources, self.folder))
        if done.code:
            failures.append(Failure(self._run, f"not all beside the checkpoints was copied: {done.last_line}"))
        return failures

    def at(self, checkpoint: Checkpoint) -> str:
        """Its path there, with the box's name."""
        return f"{self.host}:{self.folder}/{checkpoint.name}"

    def going_on(self, checkpoint: Checkpoint) -> str:
        """What resumes from it there."""
        return layouts.by_name(checkpoint.layout).going_on(os.path.join(self.folder, checkpoint.name))

    def newest(self) -> Checkpoint | None:
        """Nobody here can tell."""
        return None

    def newer(self, than: Checkpoint) -> str:
        """The name of one of the same kind that lies there with a later step, "" if none; whether it is intact, nobody
        here can tell."""
        names = self._directory.names if self._directory else ()
        alike = [name for name in names if _stem(name) == _stem(than.name)]
        steps = {name: layout_and_step[1] for name in alike if (layout_and_step := layouts.step_of(name))}
        return max(((step, name) for name, step in steps.items() if step > than.step), default=(0, ""))[1]

    def set_aside(self, checkpoint: Checkpoint) -> str:
        """The command that renames what is in the way there, so that the next call copies it."""
        old = os.path.join(self.folder, checkpoint.name)
        new = os.path.join(self.folder, f"set-aside-{checkpoint.name}")
        return join([*self._ssh, self.host.strip("[]"), f"mv -T {quote(old)} {quote(new)}"])

    # --- what may be meant --------------------------------------------------------------------------------------------

    def _require(self, directory: ssh.RemoteDirectory) -> None:
        if "rsync" in directory.lacks:
            there = join([*self._ssh, self.host.strip("[]"), "apt-get install -y rsync"])
            raise UsageError(f"rsync is not installed on {self.host}; fix: {there}")
        if directory.lacks:
            raise UsageError(
                f"{self.host} lacks {' and '.join(directory.lacks)}, without which nothing can be proved there"
            )
        if directory.is_file:
            raise UsageError(f"DEST {self.dest!r}: it or a part of it is a file on {self.host}: name a directory")
        if directory.folder in discover.SYSTEM_DIRECTORIES | {directory.home}:
            raise UsageError(f"refusing {self.dest!r}: {directory.folder} is a system or home directory on {self.host}")
        if self._is_this_volume(directory):
            raise UsageError(
                f"DEST {self.dest!r} is on this box, and on the same volume as {self._run}: a copy there frees nothing "
                "and is lost with it; name another box or volume"
            )

    def _is_this_volume(self, directory: ssh.RemoteDirectory) -> bool:
        """A box that was started at the same moment is this one, by another of its names."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                here = file.read().strip()
        except OSError:
            return False
        return here == directory.boot and os.stat(self._run).st_dev == directory.device

    # --- one checkpoint -----------------------------------------------------------------------------------------------

    def _root(self, checkpoint: Checkpoint) -> str:
        return self.folder if checkpoint.single else os.path.join(self.folder, checkpoint.name)

    def _pin(self) -> list[Failure]:
        """Those that are pinned there already stay so."""
        try:
            done = self._ask(ssh.adding(self.folder, pins.FILE, pins.read(self._run)))
        except UsageError as error:
            return [Failure(os.path.join(self._run, pins.FILE), f"not copied: {error}")]
        failed = f"{ssh.SAYS}done" not in done.out
        return [Failure(os.path.join(self._run, pins.FILE), f"not copied: {done.last_line}")] if failed else []

    def _verify(self, checkpoint: Checkpoint) -> None:
        """Read it whole here: the other box may have no ckptkit. Raises NotCopied."""
        try:
            verdict = judge_again(checkpoint, "full", reading=WHOLE._replace(pickles=True, trust=self._trust))
        except NoSuchRun:
            raise NotCopied(f"{checkpoint.path} was deleted before it was copied") from None
        if not verdict.intact or verdict.files_unread:
            from ckptkit.model.checkpoint import Judged

            why = first_finding(Judged(checkpoint, verdict)) if verdict.findings else "not all of it could be read"
            raise NotCopied(f"{checkpoint.path} is not intact, as its bytes show: {why}")

    def _differences(self, checkpoint: Checkpoint, copy: str, whole: bool = True) -> list[str]:
        words = ssh.comparing(self._ssh, self.host, checkpoint.path, copy, checkpoint.single, whole)
        done = self._run_rsync(words)
        if done.code:
            raise NotCopied(self._why(done, checkpoint))
        return ssh.differences(done.out)

    def _run_rsync(self, words: Sequence[str]) -> ssh.Done:
        done = ssh.run(words, shown=self._shown and "-n" not in words)
        if done.code in ssh.NETWORK_CODES and not done.no_room:
            raise RemoteFailed(f"{self.host}: {done.last_line}; what is proved there stays; run it again to go on")
        return done

    def _why(self, done: ssh.Done, checkpoint: Checkpoint) -> str:
        if discover.is_gone(checkpoint.path):
            return f"{checkpoint.path} was deleted while it was copied"
        return f"{self.host}: {done.last_line}"

    def _ask(self, script: str) -> ssh.Done:
        done = ssh.run(ssh.asking(self._ssh, self.host), script)
        if done.code in (127, 255):
            raise RemoteFailed(f"{self.host} can't be reached: {done.last_line}; try again")
        return done


def _stem(name: str) -> str:
    return "".join(c for c in name if not c.isdecimal())
