"""What is no plain file, what another user may not read, and files of a terabyte that take no block."""

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.corpus.bytes import same_times
from tests.corpus.damage import RESIZED, Claim, Damage, in_file, torn, unjudged
from tests.corpus.tensors import ADAPTER, MODEL

TB = 1 << 40
UNREAD = Claim("full", "unknown", "too-large")
SPARSE = (Claim("quick", "intact", "sparse"), UNREAD)


def damages() -> Iterator[Damage]:
    """Special files in place of real ones; sparse giants."""
    for name in ("optimizer.pt", ADAPTER, "README.md"):
        yield _special("fifo", name, os.mkfifo)
        yield _special("symlink", name, lambda file: file.symlink_to("/etc/passwd"))
    yield _special("device", "optimizer.pt", _zeros, needs_root=True)
    yield Damage("mode/0600_of_another_user", "lora", _closed, unjudged("unreadable"),
                 "files of mode 0600, seen by another user",
                 needs_root=True)  # fmt: skip
    yield from _giants()


def _special(kind: str, name: str, make: Callable[[Path], object], needs_root: bool = False) -> Damage:
    claims = in_file(name, unjudged("not-a-file"))
    return Damage(f"hostile/{kind}/{name}", "lora", partial(_instead, name, make), claims,
                  "a FIFO, a symlink or a device node", needs_root=needs_root, hostile=True)  # fmt: skip


def _giants() -> Iterator[Damage]:
    what = "a file of 1 TB that takes no block"
    yield _giant("of_zeros", partial(_stretched, "optimizer.pt", 0), torn("zeroed-header"), "a file all zeros")
    yield _giant(
        "stretched_archive", partial(_stretched, "optimizer.pt", None), torn(), "an archive's tail zeros, or a hole"
    )
    yield _giant("tensor", _one_tensor, SPARSE, what, (*RESIZED, UNREAD), kind="full")
    yield _giant("record", _one_record, (UNREAD,), what, (*RESIZED, UNREAD))
    yield _giant("text", partial(_stretched, "README.md", None), in_file("README.md", (UNREAD,)), what,
                 in_file("README.md", (*RESIZED, UNREAD)))  # fmt: skip
    yield _giant("state", partial(_stretched, "trainer_state.json", None), unjudged("too-large"),
                 "more JSON than is looked at, in a header, trainer_state.json or a configuration")  # fmt: skip


def _giant(
    name: str, harm: Callable[[Path], object], claims: tuple[Claim, ...], what: str,
    manifested: tuple[Claim, ...] | None = None, kind: str = "lora",
) -> Damage:  # fmt: skip
    return Damage(f"hostile/terabyte/{name}", kind, harm, claims, what, manifested, hostile=True)


def _instead(name: str, make: Callable[[Path], object], path: Path) -> None:
    (path / name).unlink()
    make(path / name)


def _zeros(file: Path) -> None:
    os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 5))


def _closed(path: Path) -> None:
    """Everything the owner's alone; who looks is somebody else (the judge sees to that)."""
    for file in path.iterdir():
        file.chmod(0o600)


def _stretched(name: str, keep: int | None, path: Path) -> None:
    with same_times(path / name):
        if keep is not None:
            os.truncate(path / name, keep)
        os.truncate(path / name, TB)


def _one_tensor(path: Path) -> None:
    """A header that says what the file has: one tensor of a terabyte."""
    entry = {"dtype": "F32", "shape": [TB // 4], "data_offsets": [0, TB]}
    header = json.dumps({"lm_head.weight": entry}).encode()
    file = path / MODEL
    with same_times(file):
        file.write_bytes(len(header).to_bytes(8, "little") + header)
        os.truncate(file, 8 + len(header) + TB)


def _one_record(path: Path) -> None:
    """An archive that is whole by its directory: data/0 is a hole of a terabyte."""
    with same_times(path / "optimizer.pt"), open(path / "optimizer.pt", "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("optimizer/data.pkl", b"\x80\x02}.")
            with archive.open(zipfile.ZipInfo("optimizer/data/0"), "w", force_zip64=True) as content:
                content.write(b"\1")
                file.seek(TB - 1, io.SEEK_CUR)
                content._file_size += TB - 1  # type: ignore[attr-defined]
                content._compress_size += TB - 1  # type: ignore[attr-defined]
