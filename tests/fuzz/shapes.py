"""Mutations that know a format, and what puts its lengths and checksums right again."""

from __future__ import annotations

import json
import pickletools
from typing import TYPE_CHECKING, Any

from ckptkit.formats import torch_zip
from ckptkit.formats.crc import crc32
from ckptkit.formats.torch_records import placed

if TYPE_CHECKING:
    from random import Random

ODD: tuple[Any, ...] = (
    *(0, -1, 1, 7, 100, 2**31, 2**63, 10**400, 10**4299, 0.5, 1e308, float("inf"), float("nan"), True, False, None),
    *("", "a", "\0", "\ud800", "../x", "LORA", "9" * 4400, "9" * 400, "1e999", "x" * 3000, [], {}, [[]], [0], {"a": 0}),
)  # fmt: skip


# -- JSON -------------------------------------------------------------------------------------------------------------


def json_mutate(data: bytes, rng: Random) -> bytes:
    """One to three values of a document replaced, doubled, removed, or put deeper."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    box = [document]
    for _ in range(rng.randint(1, 3)):
        _change(*rng.choice(_places(box)), rng)
    try:
        return json.dumps(box[0] if box else None).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):
        return data


def _places(box: list[Any]) -> list[tuple[Any, Any]]:
    """Each (container, key) of a document; walked without recursion."""
    waiting = [box]
    found: list[tuple[Any, Any]] = []
    while waiting and len(found) < 2000:
        container = waiting.pop()
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])
    return found or [(box, None)]


def _change(container: Any, key: Any, rng: Random) -> None:
    way = rng.randrange(6)
    if key is None:
        container.append(_odd(rng))
    elif way == 0:
        del container[key]
    elif way == 1 and isinstance(container, dict):
        container[str(rng.choice(ODD))] = container[key]
    elif way == 2:
        container[key] = [container[key]] * rng.choice((1, 1, 2, 50))
    elif way == 3:
        container[key] = _nested(rng.choice((3, 100, 900, 990, 1100)))
    else:
        container[key] = _odd(rng)


def _odd(rng: Random) -> Any:
    """One of ODD, its lists anew, since they get changed in turn."""
    value = rng.choice(ODD)
    return type(value)(value) if isinstance(value, (list, dict)) else value


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(min(depth, 900)):  # json.dumps itself stops there
        value = [value]
    return value


# -- safetensors ------------------------------------------------------------------------------------------------------


def safetensors_mutate(data: bytes, rng: Random) -> bytes:
    """The header changed as JSON; its length and the data's are put right."""
    length = int.from_bytes(data[:8], "little")
    header = json_mutate(data[8 : 8 + length], rng)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def safetensors_fix(data: bytes) -> bytes:
    """The header's length made to end at the last brace, if it ends behind the file's end."""
    length = int.from_bytes(data[:8], "little")
    end = data.rfind(b"}") + 1
    if end > 8 and not 0 < length <= len(data) - 8:
        return (end - 8).to_bytes(8, "little") + data[8:]
    return data


# -- torch's files ----------------------------------------------------------------------------------------------------


def zip_fix(data: bytes) -> bytes:
    """Each record's CRC-32 in the directory made that of its bytes."""
    import io

    file, changed, at = io.BytesIO(data), bytearray(data), 0
    try:
        _, places = placed(file, torch_zip.read(file, len(data))[2])
        by_name = {p.record.name: crc32(memoryview(data)[p.begin : p.end]) for p in places}
    except Exception:  # noqa: BLE001  the target itself will find it
        return data
    while by_name and (at := data.find(b"PK\x01\x02", at)) >= 0:
        name = data[at + 46 : at + 46 + int.from_bytes(data[at + 28 : at + 30], "little")]
        if name in by_name:
            changed[at + 16 : at + 20] = by_name[name].to_bytes(4, "little")
        at += 46
    return bytes(changed)


def tar_fix(data: bytes) -> bytes:
    """Each header's checksum made that of its bytes."""
    changed, at = bytearray(data), 0
    while data[at + 257 : at + 262] == b"ustar" and at + 512 <= len(data):
        header = data[at : at + 512]
        total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        changed[at + 148 : at + 156] = b"%06o\0 " % total
        digits = header[124:136].strip(b" \0")
        at += 512 + (-(-int(digits, 8) // 512) * 512 if digits.isdigit() and not digits.strip(b"01234567") else 0)
    return bytes(changed)


# -- pickles ----------------------------------------------------------------------------------------------------------

OPCODES = tuple(op.code.encode("latin1") for op in pickletools.opcodes)
GLOBALS = (
    *(b"ccollections\nOrderedDict\n", b"cbuiltins\ngetattr\n", b"ccollections\ndefaultdict\n", b"cos\nsystem\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n"),
    *(b"ccopyreg\n_reconstructor\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctransformers.trainer_utils\n"),
)
PIECES = (
    *OPCODES, *GLOBALS,
    *(b"K\1", b"M\1\2", b"J\xff\xff\xff\xff", b"I1\n", b"I01\n", b"L9999L\n", b"\x8a\1\1", b"F1e999\n"),
    *(b"G\x7f\xf0\0\0\0\0\0\0", b"X\1\0\0\0a", b"Vx\\ud800\n", b"S'a\\xff'\n", b"C\1\0", b"P1\n"),
    *(b"\x8c\5state", b"\x8c\x0cparam_groups", b"\x8c\6params", b"\x8c\7storageQ", b"\x82\1", b"\x80\2", b"\x80\4"),
    *(b"q\0", b"q\1", b"h\0", b"h\1", b"r\xff\3\0\0", b"j\0\0\0\0", b"p0\n", b"g0\n", b"\x95\4\0\0\0\0\0\0\0"),
    *(b"2" * 50, b"h\0" * 50, b"]" * 400, b"(" * 99, b"a" * 400, b"\x85" * 400, b"0h\0h\0\x86q\0" * 40),
    *(b")\x81", b")R", b"}b", b"(dR", b"KaKbs"),
)  # fmt: skip


def pickle_mutate(data: bytes, rng: Random) -> bytes:
    """Opcodes put in, taken out or written anew, so that the stack's order is tried and not the lengths of texts."""
    if rng.random() < 0.3 or len(data) > 3000:
        return data[: rng.choice((0, 2))] + b"".join(rng.choices(PIECES, k=rng.randint(1, 30))) + b"."
    ends = _boundaries(data)
    at = rng.choice(ends)
    to = rng.choice((at, at, rng.choice(ends)))
    return data[:at] + b"".join(rng.choices(PIECES, k=rng.randint(0, 4))) + data[max(at, to) :]


def _boundaries(data: bytes) -> list[int]:
    """Where opcodes begin, as far as the standard library can follow."""
    found = [0]
    try:
        found += [at for _, _, at in pickletools.genops(data) if at is not None]
    except Exception:  # noqa: BLE001  it ends where it ends
        return found
    return found
