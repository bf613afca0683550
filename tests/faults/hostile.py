"""Somebody hostile who can write to a run: the names they give, what they lay there, and what must not come of it."""

import hashlib
import json
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = (
    b"a\nb", b"\x1b[2J\x1b[31mred", b"\x1b]0;owned\x07", b"\xff\xfe\xc3", b"\x7f\x08\x08", b"\r\nHTTP", b"tab\there",
    "\x9b31m\x85next".encode(), "\u202efdp.tp".encode(), "\u2066x\u2069".encode(), "\u2028line".encode(),
    b"-rf", b"$(touch x)`touch x`;touch x", b"<script>alert(1)<br>", b"'\" \\", b"..x", b"... ", b"%s%n{0}",
)  # fmt: skip
# What a terminal obeys, or what turns a line around: C0 but newline and tab, DEL, C1, bidirectional overrides.
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


def dirty(raw: bytes) -> list[str]:
    """What stands in an output and must not reach a terminal; bytes that are no UTF-8 too."""
    return [ascii(found) for found in FORBIDDEN.findall(raw.decode("utf-8", "surrogateescape"))]


def snapshot(top: str) -> dict[str, tuple[object, ...]]:
    """All that a tree is: modes, owners, sizes, times and bytes; equal before and after means untouched."""
    return {path: _seen(path) for path in _below(top)}


def _below(top: str) -> Iterator[str]:
    yield top
    for parent, directories, files in os.walk(top):
        yield from (os.path.join(parent, name) for name in (*directories, *files))


def _seen(path: str) -> tuple[object, ...]:
    status = os.lstat(path)
    known = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns)
    if stat.S_ISREG(status.st_mode):
        return *known, hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return *known, os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""


# --- what they lay there --------------------------------------------------------------------------------------------


OUTSIDE = ("../../outside/precious", "/etc/passwd", "../checkpoint-200/optimizer.pt", "a/../../x")


def lay_names(run: str) -> None:
    """Each name as a stray, as a leftover, as a file in a checkpoint and of the run, and inside the documents."""
    top = os.fsencode(run)
    os.makedirs(top + b"/checkpoint-100/sub", exist_ok=True)
    for name in NAMES:
        os.mkdir(top + b"/checkpoint-" + name)
        os.mkdir(top + b"/.ckptkit-deleting-" + name)
        for parent in (b"", b"/checkpoint-100", b"/checkpoint-100/sub", b"/checkpoint-" + name):
            Path(os.fsdecode(top + parent + b"/" + name)).write_bytes(b"\1" * 5000)
        Path(os.fsdecode(top + b"/.ckptkit-deleting-" + name + b"/" + name)).write_bytes(b"\1" * 5000)
    Path(run, ".ckptkit-pins").write_bytes(b"\n".join(n for n in NAMES if b"\xff" not in n and b"\n" not in n))
    for step, lie in zip((200, 300), (lie_in_state, lie_in_adapter), strict=True):
        lie(Path(run, f"checkpoint-{step}"))


def texts() -> list[str]:
    """The names as they can stand in a JSON document."""
    return [name.decode("utf-8", "replace") for name in NAMES]


def lie_in_state(checkpoint: Path) -> None:
    """The best checkpoint and the metrics have hostile names."""
    file = checkpoint / "trainer_state.json"
    state = json.loads(file.read_text())
    state["best_model_checkpoint"] = texts()[1]
    state["log_history"].append({"step": state["global_step"]} | dict.fromkeys(texts(), 1.0))
    file.write_text(json.dumps(state, ensure_ascii=False))


def lie_in_adapter(checkpoint: Path) -> None:
    """An index names shards and tensors that nobody has, outside and hostile."""
    shards = ["../../outside/precious", "/etc/passwd", "../checkpoint-100/optimizer.pt", *texts()]
    table = {"weight_map": {name: shard for shard in shards for name in (shard, f"{shard}.weight")}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(table, ensure_ascii=False))


def lying_manifest(checkpoint: str) -> bytes:
    """One that names what lies outside, claims sizes that nobody has, and digests that are wrong or absurd."""
    entry = {"bytes": 1, "mtime_ns": 1, "crc32": "00000000"}
    files = dict.fromkeys((*OUTSIDE, "", ".", *texts()), entry) | {
        "trainer_state.json": {"bytes": os.path.getsize(f"{checkpoint}/trainer_state.json"), "mtime_ns": 1},
        "optimizer.pt": {"bytes": 10**300, "mtime_ns": -(10**300), "sha256": "f" * 100_000, "\x1b[31m": "\x1b[31m"},
    }
    return json.dumps({"schema": "ckptkit.manifest/1", "written_at": 1e300, "files": files}).encode()


def lay_fifo(path: str) -> None:
    """Whoever opens it to read waits for ever."""
    os.mkfifo(path)


def lay_socket(path: str) -> None:
    """By descriptor: a socket's path may have 107 bytes."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    os.close(folder)


def lay_device(path: str) -> None:
    """/dev/zero under another name: it has no end."""
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def lay_link(target: str) -> Callable[[str], None]:
    """A symlink to something that hangs, has no end, or is nobody's business."""
    return lambda path: os.symlink(target, path)


SPECIAL = {
    "fifo": lay_fifo, "socket": lay_socket, "device": lay_device, "zero": lay_link("/dev/zero"),
    "mem": lay_link("/proc/self/mem"), "root": lay_link("/"), "loop": lay_link("."), "nowhere": lay_link("nowhere"),
}  # fmt: skip


# --- what they do meanwhile -----------------------------------------------------------------------------------------

_on_call: Callable[[str], None] | None = None


def _hear(event: str, _: object) -> None:
    """Python tells of an open, a listing, a rename, a removal just before the system call: there somebody strikes."""
    if _on_call and event in ("open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.rmdir", "os.utime"):
        _on_call(event)


sys.addaudithook(_hear)


@contextmanager
def striking_at(number: int, strike: Callable[[], None]) -> Iterator[list[str]]:
    """Call `strike` just before the number-th call; yields the list of those seen, for how many there are."""
    global _on_call
    seen: list[str] = []

    def count(event: str) -> None:
        global _on_call
        seen.append(event)
        if len(seen) - 1 == number:
            _on_call, kept = None, _on_call  # what the strike itself calls is not counted
            strike()
            _on_call = kept

    _on_call = count
    try:
        yield seen
    finally:
        _on_call = None
