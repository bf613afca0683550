"""What only a manifest tells, and manifests that tell nothing."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.corpus.bytes import flip, rewrite
from tests.corpus.damage import CHANGED, RESIZED, UNSEEN, Damage, hint, in_file, torn
from tests.corpus.parts import origin

FILE = ".ckptkit-manifest.json"
BROKEN = {
    "empty": b"",
    "cut": b'{"schema": "ckptkit.manifest/1", "fil',
    "zeros": bytes(900),
    "a_list": b"[]",
}
CHANGED_FILES = {"README.md": "lora", "adapter_model.safetensors": "lora", "generation_config.json": "full"}


def damages() -> Iterator[Damage]:
    """Changes that leave size and times, and what happens to the manifest itself."""
    for name, kind in CHANGED_FILES.items():
        yield Damage(f"manifest/changed/{name}", kind, partial(_flip_middle, name), UNSEEN,
                     "a file changed, its size and time as before", in_file(name, CHANGED))  # fmt: skip
    yield Damage("manifest/longer/README.md", "lora", lambda path: rewrite(path / "README.md", lambda raw: raw + b"\n"),
                 UNSEEN, "a file that grew and that nothing else looks into",
                 in_file("README.md", RESIZED))  # fmt: skip
    for name, raw in BROKEN.items():
        yield Damage(f"manifest/broken/{name}", "lora", partial(_broken, raw), UNSEEN, "a manifest that is broken",
                     hint("bad-manifest"))  # fmt: skip
    yield Damage("manifest/of_another_checkpoint", "lora", _foreign, UNSEEN, "a manifest of another checkpoint",
                 torn("missing"))  # fmt: skip
    yield Damage("manifest/of_an_earlier_save", "lora", _saved_again, UNSEEN,
                 "a manifest of an earlier save of this step", hint("stale-manifest"))  # fmt: skip
    yield Damage("manifest/of_unknown_digests", "lora", partial(_table, _unknown_digests), UNSEEN,
                 "a manifest of digests that are not known here", hint("digest-unchecked", "full"))  # fmt: skip


def _flip_middle(name: str, path: Path) -> None:
    """In README.md and JSON: another text; in the weights: the last value's mantissa."""
    size = (path / name).stat().st_size
    flip(path / name, size - 4 if name.endswith(".safetensors") else size // 2)


def _broken(raw: bytes, path: Path) -> None:
    _if_there(path, lambda file: file.write_bytes(raw))


def _foreign(path: Path) -> None:
    content = (origin(path) / "full/checkpoint-100" / FILE).read_bytes()
    _if_there(path, lambda file: file.write_bytes(content))


def _if_there(path: Path, change: Callable[[Path], object]) -> None:
    """Harm is done to copies with a manifest and to those without."""
    if (path / FILE).exists():
        change(path / FILE)


def _saved_again(path: Path) -> None:
    """Training went back and wrote the step again: other values, a later time."""
    state, later = path / "trainer_state.json", path.stat().st_mtime + 1800
    rewrite(state, lambda raw: json.dumps(json.loads(raw) | {"epoch": 7.5}).encode())
    flip(path / "adapter_model.safetensors", -4 + (path / "adapter_model.safetensors").stat().st_size)
    os.utime(state, (later, later))


def _table(change: Callable[[dict[str, Any]], None], path: Path) -> None:
    def changed(raw: bytes) -> bytes:
        table = json.loads(raw)
        change(table)
        return json.dumps(table).encode()

    _if_there(path, lambda file: rewrite(file, changed))


def _unknown_digests(table: dict[str, Any]) -> None:
    for entry in table["files"].values():
        entry["blake9"] = entry.pop("crc32")
