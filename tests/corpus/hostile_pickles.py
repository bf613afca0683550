"""Pickles that call out, in every way that a pickle can, in every file that holds one. The call touches a canary."""

import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.corpus.bytes import same_times
from tests.corpus.damage import Claim, Damage, hint, in_file, wrong

CANARY = "executed"  # in the run, beside the checkpoint


def canary(path: Path) -> Path:
    """What exists if something hostile ran: given the checkpoint."""
    return path.parent / CANARY


def _text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def _nested(command: str) -> bytes:
    """Within what a real optimizer.pt looks like, ten levels down."""

    class Deep:
        def __reduce__(self) -> tuple[object, ...]:
            import os

            return os.system, (command,)

    value: object = Deep()
    for number in range(10):
        value = {"state": {number: [value]}, "param_groups": []}
    return pickle.dumps(value, 4)


def _build(command: str) -> bytes:
    """BUILD calls __setstate__ of what REDUCE made: functools.partial's puts a function and its arguments in."""
    partial_ = b"cfunctools\npartial\n(cbuiltins\nlen\ntR"
    state = b"(cos\nsystem\n(" + _text(command) + b"t}Nt"
    return b"\x80\x02" + b"(" + partial_ + state + b"b" + b"o."


WAYS: dict[str, Callable[[str], bytes]] = {
    "global": lambda command: b"cos\nsystem\n(" + _text(command) + b"tR.",
    "posix": lambda command: b"\x80\x02cposix\nsystem\n" + _text(command) + b"\x85R.",
    "stack_global": lambda command: b"\x80\x04\x8c\x02os\x8c\x06system\x93" + _text(command) + b"\x85R.",
    "memoised_names": lambda command: b"\x80\x04\x8c\x06system\x940\x8c\x02os\x940h\x01h\x00\x93" + _text(command)
    + b"\x85R.",
    "inst": lambda command: b"(" + _text(command) + b"ios\nsystem\n.",
    "obj": lambda command: b"(cos\nsystem\n" + _text(command) + b"o.",
    "build": _build,
    "nested": _nested,
    "then_broken": lambda command: b"\x80\x02cos\nsystem\n" + _text(command) + b"\x85R\xff.",
    "through_eval": lambda command: b"cbuiltins\neval\n(" + _text(f"__import__('os').system({command!r})") + b"tR.",
}  # fmt: skip
PROTOCOL_0 = ("global", "inst", "obj", "through_eval")
OTHERS = ("training_args.bin", "rng_state.pth", "scheduler.pt")  # they are read as optimizer.pt is: three ways each


def damages() -> Iterator[Damage]:
    """Each way in the archives' data.pkl, and as the bare pickle that torch loads too."""
    for way, made in WAYS.items():
        for name in ("optimizer.pt", *(OTHERS if way in ("stack_global", "build", "nested") else ())):
            yield _damage(f"{name}/{way}", partial(_in_archive, name, made), _claims(name, way), name)
        yield _damage(f"bare/{way}", partial(_bare, "training_args.bin", made), _bare_claims(way), "training_args.bin")


def _claims(name: str, way: str) -> tuple[Claim, ...]:
    """What a resume loads is refused for it; in the settings, which no resume loads, it is told."""
    if name == "training_args.bin":
        return hint("unsafe-pickle", "full")
    return wrong("refused-pickle") if way == "then_broken" else hint("refused-pickle")


def _bare_claims(way: str) -> tuple[Claim, ...]:
    """Only a pickle that begins with its protocol is taken for one that torch once wrote."""
    return hint("bad-optional") if way in PROTOCOL_0 else hint("unsafe-pickle", "full")


def _damage(name: str, harm: Callable[[Path], object], claims: tuple[Claim, ...], file: str) -> Damage:
    # As large as it is, it is another file; one that is broken too is corrupt without the manifest's word.
    changed = claims[0].state == "intact" and claims[0].code in ("refused-pickle", "unsafe-pickle")
    manifested = in_file(file, wrong("changed-since-manifest")) if changed else claims
    what = "a pickle that calls out, in an archive or bare"
    return Damage(f"hostile/pickle/{name}", "lora", harm, claims, what, manifested, hostile=True)


def payload(made: Callable[[str], bytes], path: Path) -> bytes:
    """The pickle that touches the canary of this checkpoint."""
    return made(f"touch {canary(path)}")


def _in_archive(name: str, made: Callable[[str], bytes], path: Path) -> None:
    """The real archive with another data.pkl, all CRC-32 right."""
    old, new = io.BytesIO((path / name).read_bytes()), io.BytesIO()
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w") as target:
        for record in source.namelist():
            content = payload(made, path) if record.endswith("/data.pkl") else source.read(record)
            target.writestr(zipfile.ZipInfo(record), content)
    _write(path / name, new.getvalue())


def _bare(name: str, made: Callable[[str], bytes], path: Path) -> None:
    _write(path / name, payload(made, path))


def _write(file: Path, content: bytes) -> None:
    with same_times(file):
        file.write_bytes(content)
