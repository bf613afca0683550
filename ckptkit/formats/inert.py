"""The inert values that stand for what a pickle would make, and the bytes that they are made from.

None of them is ever called, looked up or loaded.
"""

from typing import Any

LONGEST_NUMBER, LONGEST_NAME, LONGEST_TEXT, LONGEST_LINE = 255, 500, 4096, 1 << 16  # bytes


class Opaque:
    """A value that is not kept: bytes, sets, long texts and numbers, and all that came once the room was used up."""


class Global:
    """A name of a module's content. It is never looked up."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class InertCall:
    """What `function(*arguments)` would have made, then given `state`. It was never called."""

    __slots__ = ("arguments", "function", "state")

    def __init__(self, function: Any, arguments: Any) -> None:
        self.function, self.arguments = function, arguments
        self.state: Any = None


class Persistent:
    """What torch keeps outside of the pickle: for a storage ("storage", type, key, location, elements)."""

    __slots__ = ("id",)

    def __init__(self, id_: Any) -> None:
        self.id = id_


OPAQUE = Opaque()


class Broken(Exception):
    """A pickle that can't be followed further. Carries a fault."""


class Arguments:
    """A pickle's bytes from `at` on, and what follows an opcode there. Nothing long is copied."""

    def __init__(self, raw: bytes | bytearray, at: int) -> None:
        self.raw, self.at = raw, at

    def take(self, count: int) -> int:
        """Step over the next bytes and return where they begin."""
        begin = self.at
        if count > len(self.raw) - begin:
            raise Broken("truncated", f"{count} bytes are claimed at byte {begin}, {len(self.raw) - begin} are there")
        self.at += count
        return begin

    def number(self, width: int, signed: bool = False) -> int:
        """Return the little-endian number of the next `width` bytes."""
        begin = self.take(width)
        return int.from_bytes(self.raw[begin : self.at], "little", signed=signed)

    def sized(self, width: int, longest: int = LONGEST_TEXT) -> bytes | None:
        """Return what follows its length, a number of `width` bytes; None if it is longer than anybody asks for."""
        count = self.number(width)
        begin = self.take(count)
        return bytes(self.raw[begin : self.at]) if count <= longest else None

    def line(self) -> bytes:
        """Return the bytes up to the next newline, without it. Raises Broken if there is none near."""
        begin, end = self.at, self.raw.find(b"\n", self.at)
        if end < 0 or end - begin > LONGEST_LINE:
            code = "truncated" if end < 0 else "bad-pickle"
            raise Broken(code, f"the line at byte {begin} has no end, or one beyond {LONGEST_LINE} bytes")
        self.at = end + 1
        return bytes(self.raw[begin:end])


def integer(raw: bytes) -> int:
    """Given the digits of INT or LONG, return the number, if it takes no time; 00 and 01 are the two truths."""
    if len(raw) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(raw)} digits")
    return raw == b"01" if raw in (b"00", b"01") else int(raw.rstrip(b"L"), 0)


def long(raw: bytes | None) -> Any:
    """Given LONG1's bytes, or None for more than are kept, return the number."""
    return OPAQUE if raw is None else int.from_bytes(raw, "little", signed=True)


def unescaped(raw: bytes) -> bytes:
    """Given UNICODE's line, return the UTF-8 that the binary opcodes hold."""
    return raw.decode("raw-unicode-escape").encode("utf-8", "surrogatepass")


def is_plain(key: Any) -> bool:
    """Whether hashing it is cheap: a tuple may hold itself a billion times, large numbers can be made to collide."""
    return type(key) in (str, bool, type(None)) or (type(key) is int and abs(key) < 1 << 60)
