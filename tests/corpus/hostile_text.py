"""Headers and JSON that claim, nest or repeat more than anybody writes; made on the fly, up to 100 MB."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.corpus.bytes import rewrite, same_times
from tests.corpus.damage import Claim, Damage, hint, torn, unjudged, wrong
from tests.corpus.manifests import FILE
from tests.corpus.tensors import ADAPTER

MB = 1_000_000
MANY = unjudged("too-large")
LLAMA = "🦙".encode()  # one such character makes Python keep all of a text at four bytes each
MOST = 99 * MB  # a header may have 100 MB, and other JSON is looked at up to that
BOMBS: dict[str, tuple[Callable[[], bytes], dict[str, tuple[Claim, ...]]]] = {
    # name: (content, {where: claims})
    "brackets": (lambda: b"[" * MOST, {"header": MANY}),
    "commas": (lambda: b"[" + b"0," * (MOST // 4) + b"0]", {"state": MANY, "config": MANY}),
    "objects": (lambda: b'{"a":' * (MOST // 10), {"header": MANY}),
    "deep": (lambda: b"[" * 200_000 + b"]" * 200_000, {"header": wrong("bad-header"), "config": torn()}),
    "names": (lambda: _names(900_000), {"header": MANY}),
    "one_text": (lambda: b'{"a":"' + b"x" * (MOST // 3) + b'"}', {"state": unjudged("not-recognized")}),
    "one_wide_text": (lambda: b'{"a":"' + LLAMA + b"x" * (MOST // 3) + b'"}', {"header": MANY}),
    "one_number": (lambda: b'{"a":' + b"9" * (MOST // 3) + b"}", {"config": torn()}),
    "blanks": (lambda: b"{" + b" " * (MOST // 3) + b"}", {"header": wrong("trailing-bytes")}),
}  # fmt: skip
CLAIMED = {"2_63": 2**63, "2_63_less_1": 2**63 - 1, "2_64_less_1": 2**64 - 1, "100_MB_and_1": 100 * MB + 1}
MANIFESTS = {
    "brackets": lambda: b"[" * (15 * MB), "lists": lambda: b"[" + b"[]," * (5 * MB) + b"0]",
    "objects": lambda: b'{"files":{"a":[' + b"{}," * (5 * MB) + b"0]}}",
    "larger_than_one_is": lambda: b'{"files":{' + b" " * (80 * MB) + b"}}",
}  # fmt: skip


def damages() -> Iterator[Damage]:
    """Lengths that lie, bombs in each place where JSON is read."""
    for name, length in CLAIMED.items():
        yield _hostile(f"header_of/{name}", partial(_length, length), wrong("bad-header"),
                       "a safetensors header that claims up to 2^64 bytes")  # fmt: skip
    for name, (content, places) in BOMBS.items():
        for where, claims in places.items():
            yield _hostile(f"{where}/{name}", partial(PLACES[where], content), claims, _what(claims))
    yield _hostile("state/larger_than_looked_at", _stretched, MANY,
                   "more JSON than is looked at, in a header, trainer_state.json or a configuration")  # fmt: skip
    for name, content in MANIFESTS.items():
        yield Damage(f"hostile/manifest/{name}", "lora", partial(_manifest, content), (), "a manifest that is a bomb",
                     hint("bad-manifest"), hostile=True)  # fmt: skip


def _what(claims: tuple[Claim, ...]) -> str:
    if claims and claims[0].code == "too-large":
        return "more JSON than is looked at, in a header, trainer_state.json or a configuration"
    return "JSON of up to 100 MB that is no document of its kind"


def _hostile(name: str, harm: Callable[[Path], object], claims: tuple[Claim, ...], what: str) -> Damage:
    return Damage(f"hostile/{name}", "lora", harm, claims, what, hostile=True)


def _length(length: int, path: Path) -> None:
    rewrite(path / ADAPTER, lambda raw: length.to_bytes(8, "little") + raw[8:])


def _header(content: Callable[[], bytes], path: Path) -> None:
    raw = content()
    _write(path / ADAPTER, len(raw).to_bytes(8, "little") + raw + bytes(4096))


def _stretched(path: Path) -> None:
    with same_times(path / "trainer_state.json"):
        os.truncate(path / "trainer_state.json", 101 * MB)


def _state(content: Callable[[], bytes], path: Path) -> None:
    _write(path / "trainer_state.json", content())


def _config(content: Callable[[], bytes], path: Path) -> None:
    _write(path / "adapter_config.json", content())


def _manifest(content: Callable[[], bytes], path: Path) -> None:
    if (path / FILE).exists():
        _write(path / FILE, content())


def _write(file: Path, content: bytes) -> None:
    with same_times(file):
        file.write_bytes(content)


def _names(count: int) -> bytes:
    return json.dumps(dict.fromkeys(map(str, range(count)), 0)).encode()


PLACES = {"header": _header, "state": _state, "config": _config}
