"""A run and its checkpoints, as found and as judged. Frozen; no behaviour beyond what follows from the fields.

Paths are absolute strings. Bytes are integers. Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ckptkit.units import count, human, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

State = Literal["intact", "incomplete", "corrupt", "in_progress", "unknown"]

Action = Literal["keep", "delete", "leave"]

Level = Literal["quick", "full", "deep"]

Severity = Literal["red", "yellow", "green"]

# A checkpoint under removal takes this name first, in its own directory, so that nothing takes it for alive.
ASIDE = ".ckptkit-deleting-"

# A copy has this in front of its name until it is proved: no framework resumes from it, no verb of ours counts it.
MOVING = ".ckptkit-moving-"

# A directory with a file of this name below the one that was named holds no runs: test data, an archive.
IGNORE = ".ckptkit-ignore"

# One that nobody here can judge gets this in front of its name: no resume picks it, and renaming it back undoes it.
SET_ASIDE = "set-aside-"

# What we write into a checkpoint begins so: it is nobody's part of it.
OURS = ".ckptkit-"

# The guard's own mark in a checkpoint that it has begun to save and not finished.
SAVING = f"{OURS}saving"

# Directories within one another that are looked into: no framework makes more than a handful, a hostile one thousands.
DEEPEST = 64


class Finding(NamedTuple):
    """One fact about one file of a checkpoint; `file` is relative to it, "" for the checkpoint itself."""

    file: str
    code: str
    message: str


class File(NamedTuple):
    """One regular file of a checkpoint, by stat alone; `name` is relative to the checkpoint."""

    name: str
    apparent_bytes: int
    allocated_bytes: int
    modified_at: float


class Checkpoint(NamedTuple):
    """A directory, or one file, that the layout's name pattern matches. `problems` says what stat could not tell of it.

    step: as the name says it; 0 where only the content does. single: it is one file, which is the one of `files`.
    `device` and `inode` are its identity: what was judged is what gets deleted, or nothing is.
    """

    path: str
    name: str
    step: int
    layout: str
    device: int
    inode: int
    files: tuple[File, ...]
    directories: tuple[str, ...]
    allocated_bytes: int
    modified_at: float
    problems: tuple[Finding, ...] = ()
    single: bool = False

    def __repr__(self) -> str:
        size = f"{human(self.allocated_bytes)} in {count(len(self.files), 'file')}"
        return printable(f"<Checkpoint {self.path}: step {self.step:,}, {size}>")

    @property
    def folder(self) -> str:
        """The directory that the names of its files are relative to."""
        return self.path[: -len(self.name) - 1] if self.single else self.path

    @property
    def apparent_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.apparent_bytes for file in self.files)


class Leftover(NamedTuple):
    """What a killed sweep set aside and did not finish: `.ckptkit-deleting-<name>`. single: it is one file."""

    path: str
    name: str
    allocated_bytes: int
    single: bool = False


class Run(NamedTuple):
    """A Trainer's output_dir. Checkpoints come in the order of their steps; `strays` look like one but are none.

    links: {link's name: name of the entry of the run that it stands for}.
    """

    path: str
    checkpoints: tuple[Checkpoint, ...]
    leftovers: tuple[Leftover, ...] = ()
    strays: tuple[str, ...] = ()
    links: Mapping[str, str] = {}

    def __repr__(self) -> str:
        size = human(sum(checkpoint.allocated_bytes for checkpoint in self.checkpoints))
        return printable(f"<Run {self.path}: {count(len(self.checkpoints), 'checkpoint')}, {size}>")


class TrainerState(NamedTuple):
    """What `trainer_state.json` tells. `history`: {step: {key: value}} as logged; None is a value that says nothing.

    metrics: logged at the step itself. max_steps: that it trains for, 0 if it does not say. also_best: where several
    best ones are kept, by other metrics, the names of the others.
    """

    step: int
    saved_at: float
    history: Mapping[int, Mapping[str, object]] = {}
    metrics: Mapping[str, float] = {}
    best_checkpoint: str | None = None
    max_steps: int = 0
    also_best: tuple[str, ...] = ()


class FileDigest(NamedTuple):
    """What one file was: its size, its mtime in nanoseconds, and {algorithm: digest in hexadecimal}."""

    size: int
    modified_ns: int
    digests: Mapping[str, str]


class Manifest(NamedTuple):
    """What a checkpoint's files were when it was complete and durable. `versions`: of the programs that wrote it.

    A file without digests is a bystander, of which only the size is known. nonfinite: names of weights that held NaN or
    Inf; None: nobody looked.
    """

    written_at: float
    files: Mapping[str, FileDigest]
    versions: Mapping[str, str] = {}
    nonfinite: tuple[str, ...] | None = None


class Verdict(NamedTuple):
    """What verification says of one checkpoint. `resumable` is true only of an intact one.

    weights_intact: the weights can be used, also where the checkpoint can't be resumed from. digests: of the files
    that were read whole. files_unread: those that the level would have read, had there been time.
    """

    state: State
    resumable: bool
    level: Level
    findings: tuple[Finding, ...] = ()
    bytes_read: int = 0
    trainer_state: TrainerState | None = None
    # Whether it holds, or held before it broke, optimizer state: a torn one with it outranks a weights-only intact one.
    optimizer_state: bool = False
    weights_intact: bool = False
    digests: tuple[tuple[str, FileDigest], ...] = ()
    files_unread: int = 0
    # Names of weights that hold NaN or Inf, as read just now or as the manifest has them; None: nobody looked.
    nonfinite: tuple[str, ...] | None = None
    # Whether the files' times are in the order in which the layout's writer writes them: a copy's are not.
    written_in_order: bool = False

    def __repr__(self) -> str:
        kind = "resumable" if self.resumable else "weights only" if self.intact else ""
        why = self.findings[0].code if self.findings else ""
        return printable(f"<Verdict {', '.join(filter(None, [self.state, kind, why]))}>")

    @property
    def intact(self) -> bool:
        """Whether it is complete and its bytes are right."""
        return self.state == "intact"

    @property
    def damaged(self) -> bool:
        """Whether it is known to be torn, or its bytes to be wrong."""
        return self.state in ("incomplete", "corrupt")

    @property
    def refused(self) -> bool:
        """Whether a resume would load a pickle from it that names what must not be called."""
        return any(finding.code == "refused-pickle" for finding in self.findings)

    @property
    def unread(self) -> bool:
        """Whether nobody knows because the disk, or its permissions, did not let something be read."""
        return self.state == "unknown" and any(finding.code == "unreadable" for finding in self.findings)


class Judged(NamedTuple):
    """A checkpoint with its verdict."""

    checkpoint: Checkpoint
    verdict: Verdict

    def __repr__(self) -> str:
        return printable(
            f"<Judged {self.checkpoint.name}: {self.verdict.state}, {human(self.checkpoint.allocated_bytes)}>"
        )
