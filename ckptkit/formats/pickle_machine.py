"""The unpickler's stack, marks and memo, over inert values: what each opcode does to them (pickles.py follows them)."""

import codecs
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ckptkit.formats import Fault, known_globals
from ckptkit.formats.inert import (
    LONGEST_NAME,
    OPAQUE,
    Arguments,
    Broken,
    Global,
    InertCall,
    Opaque,
    Persistent,
    is_plain,
)

MOST_REMEMBERED = 2_500_000  # about nine a tensor
LARGEST_GAP = 1_000  # in the numbers of what is remembered: Python 2 begins with 1
MOST_GLOBALS = 1_000  # distinct ones; real files have 20
MOST_FAULTS = 20
ROOM = 16_000_000  # bytes that the inert structure may take, roughly; values beyond are OPAQUE
HIGHEST_PROTOCOL = 5
MISSING = Opaque()


class Machine(Arguments):
    """The unpickler's stack, marks and memo, over inert values. For one pickle, once."""

    def __init__(self, raw: bytes | bytearray, at: int, trust: Sequence[str] = (), room: int = ROOM) -> None:
        super().__init__(raw, at)
        self.ended, self.room, self.trust = False, room, trust
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []  # picklers number what they remember one by one
        self.remembered = 0
        self.texts: dict[bytes, str] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.faults: dict[Fault, None] = {}
        self.storages: dict[str, str] = {}  # {key: type} of what torch keeps beside the pickle
        self.getattrs = 0  # pushed and not called yet

    def fault(self, code: str, message: str) -> None:
        """Note a fault, once; beyond MOST_FAULTS nobody reads on."""
        if len(self.faults) < MOST_FAULTS:
            self.faults[code, message] = None

    def unsure(self, message: str) -> None:
        """A fault of what is unsafe, unless the values to tell by were dropped: then it is only too large."""
        self.fault("unsafe-pickle" if self.room > 0 else "too-large", message)

    def pop(self) -> Any:
        """POP: take the top value. Raises Broken if there is none above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Broken("bad-pickle", f"takes a value that does not exist, before byte {self.at}")
        return self.stack.pop()

    def top(self) -> Any:
        """Return the top value, which stays."""
        self.stack.append(value := self.pop())
        return value

    def several(self, count: int) -> list[Any]:
        """Take the top `count` values, the lowest first."""
        return [self.pop() for _ in range(count)][::-1]

    def to_mark(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        if not self.marks:
            raise Broken("bad-pickle", f"takes a mark that does not exist, before byte {self.at}")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def pop_any(self) -> None:
        """POP takes a mark, if that is what stands on top."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def push(self, value: Any, cost: int = 0) -> None:
        """Push a value that takes `cost` of the room. Globals stay known without room, so that calls stay judged."""
        self.room -= cost
        if type(value) is Global:
            self.getattrs += value.name == known_globals.GETATTR
        elif self.room <= 0 and type(value) is not str:
            value = OPAQUE
        self.stack.append(value)

    def push_text(self, raw: bytes | None, errors: Literal["surrogatepass", "replace"] = "surrogatepass") -> None:
        """A text, kept once however often it comes. errors="replace": Python 2's, which may be no text at all."""
        if raw is not None and raw not in self.texts:
            self.room -= 200 + 5 * len(raw)
            if self.room > 0:
                self.texts[raw] = raw.decode("utf-8", errors)
        self.push(OPAQUE if raw is None else self.texts.get(raw, OPAQUE))

    def push_quoted(self) -> None:
        """STRING: a text of Python 2's in quotes, up to the line's end."""
        raw = self.line().strip()
        if len(raw) < 2 or raw[0] != raw[-1] or raw[:1] not in (b"'", b'"'):
            raise Broken("bad-pickle", f"a text without quotes before byte {self.at}")
        self.push_text(codecs.escape_decode(raw[1:-1])[0], "replace")

    def push_bytes(self, width: int) -> None:
        """BINBYTES and its kin: the length in `width` bytes, then bytes, which are not kept."""
        self.sized(width, longest=0)
        self.push(OPAQUE)

    def push_all(self, kind: Callable[[list[Any]], Any], values: list[Any]) -> None:
        """Push what `kind` makes of the values."""
        self.push(kind(values), 60 + 8 * len(values))

    def push_dict(self, pairs: list[Any]) -> None:
        """DICT: a new dict of keys and values in turn."""
        self.push({}, 70)
        self.fill(pairs)

    def push_global(self, module: Any, name: Any) -> None:
        """A global, judged the first time that it is named."""
        if type(module) is not str or type(name) is not str:
            self.unsure("names a global by values that are no literal texts")
            return self.push(OPAQUE)
        if (module, name) not in self.globals:
            if len(module) + len(name) > LONGEST_NAME or len(self.globals) >= MOST_GLOBALS:
                raise Broken("bad-pickle", f"names more globals, or longer ones, than any file does: {module[:99]!r}")
            today, code = known_globals.judge(module, name)
            self.globals[module, name] = Global(today)
            if code and not any(known_globals.is_trusted(today, code, pattern) for pattern in self.trust):
                self.fault(code, f"names {today!r}"[:200])
        return self.push(self.globals[module, name])

    def push_extension(self, width: int) -> None:
        """EXT1 to EXT4: a global by its number of `width` bytes in copyreg's registry, which nobody uses."""
        self.fault("unsafe-pickle", f"names a global by its extension code, {self.number(width)}")
        self.push(OPAQUE)

    def push_persistent(self, id_: Any) -> None:
        """What torch keeps outside: for a storage ("storage", type, key, location, elements)."""
        self.push(Persistent(id_), 60)
        if type(id_) is tuple and len(id_) > 2 and type(id_[1]) is Global and type(id_[2]) is str and self.room > 0:
            self.storages[id_[2]] = id_[1].name

    def reduce(self, function: Any, arguments: Any) -> None:
        """Push what a call would have made."""
        name = function.name if type(function) is Global else ""
        self.getattrs -= name == known_globals.GETATTR
        if not name:
            self.unsure("calls a value that is not a global")
        elif known_globals.is_allowed(name) and not known_globals.may_call(name, arguments):
            self.unsure(f"calls {name}, with arguments that no pickler gives it")
        empty = name == "collections.OrderedDict" and arguments == ()
        self.push({} if empty else InertCall(function, arguments), 90)

    def push_new(self, class_: Any, arguments: Any, keywords: Any = None) -> None:
        """An empty instance: only `__new__` runs. In torch's legacy files the class may be a persistent one."""
        if type(class_) not in (Global, Persistent):
            self.unsure("makes an instance of a value that is not a class")
        self.push(InertCall(class_, (arguments, keywords) if keywords else arguments), 90)

    def inst(self, arguments: list[Any]) -> None:
        """INST: make an instance of the class that two lines name."""
        self.push_global(self.line().decode(), self.line().decode())
        self.reduce(self.pop(), tuple(arguments))

    def obj(self, function: Any = OPAQUE, *arguments: Any) -> None:
        """OBJ: make an instance; the class is the lowest value above the mark."""
        self.reduce(function, arguments)

    def fill(self, pairs: list[Any]) -> None:
        """SETITEMS, given keys and values in turn. A key that is no plain one becomes OPAQUE: see `is_plain`."""
        self.room -= 60 * len(pairs)
        if type(target := self.top()) is dict and self.room > 0:
            keys = (key if is_plain(key) else Opaque() for key in pairs[0::2])
            target.update(zip(keys, pairs[1::2], strict=False))

    def extend(self, values: list[Any]) -> None:
        """APPENDS and ADDITEMS: put the values into the list on top."""
        self.room -= 10 * len(values)
        if type(target := self.top()) is list and self.room > 0:
            target += values

    def build(self, state: Any) -> None:
        """BUILD: give the object on top its state."""
        if type(target := self.top()) in (Global, Persistent):
            self.unsure("sets attributes of a global")
        if type(target) is InertCall:
            target.state = state

    def put(self, key: int) -> None:
        """PUT: remember the top value as number `key`."""
        gap = key + 1 - len(self.memo)
        if gap > LARGEST_GAP or key < 0 or key > MOST_REMEMBERED:
            raise Broken("too-large", f"remembers {len(self.memo)} values, the next one as number {key}")
        self.memo += [MISSING] * gap
        self.remembered += self.memo[key] is MISSING
        self.memo[key] = self.top()

    def get(self, key: int) -> None:
        """GET: push the value that was remembered as number `key`."""
        if not 0 <= key < len(self.memo) or self.memo[key] is MISSING:
            raise Broken("bad-pickle", f"recalls value {key}, which it never remembered")
        self.push(self.memo[key])

    def protocol(self) -> None:
        """PROTO: the pickle's version. Raises Broken above the highest that there is."""
        if (protocol := self.number(1)) > HIGHEST_PROTOCOL:
            raise Broken("bad-pickle", f"claims protocol {protocol}")

    def frame(self) -> None:
        """Readers take a frame as a hint of how much to read at once, and fail if that much is not there."""
        count, begin = self.number(8), self.at
        self.take(count)
        self.at = begin
