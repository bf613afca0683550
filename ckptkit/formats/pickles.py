"""A pickle, judged opcode by opcode without unpickling it: nothing is imported, called, or looked up.

Opcodes and their arguments: CPython's `Modules/_pickle.c::load` and `Lib/pickletools.py`. `pickletools.genops` is not
used: it turns a decimal LONG of any length into a number (quadratic before Python 3.11) and copies and decodes all.

Why an allow-list of names is enough. A pickle gets at code in one way: it names a global (GLOBAL, STACK_GLOBAL, INST,
EXT*), and each that it names is judged where it stands, called or not. All that is called later is one of them. So it
remains that no allowed one does harm with the arguments that a pickle can give it: see `known_globals.may_call`.
What a call returned is never called in turn, and no attribute of a global is set (BUILD on one is refused).
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ckptkit.formats import Fault, inert
from ckptkit.formats.inert import OPAQUE, Broken
from ckptkit.formats.known_globals import GETATTR
from ckptkit.formats.pickle_machine import ROOM, Machine

LARGEST_BYTES = 64 << 20  # 200,000 tensors' worth
MOST_OPCODES = 24_000_000
MOST_VALUES = 1_000_000  # on the stack at once; pickle itself writes lists and dicts in batches of 1000
MOST_MARKS = 10_000
DOUBLE = struct.Struct(">d")


class Scan(NamedTuple):
    """What one pickle says. `value` is OPAQUE if the pickle is broken or too large to be kept whole.

    storages: {key: type} of the records that torch keeps its tensors in, as far as there was room to note them.
    """

    faults: list[Fault]
    globals: tuple[str, ...]
    value: Any
    storages: Mapping[str, str] = {}


def scan(raw: bytes | bytearray, trust: Sequence[str] = (), room: int = ROOM) -> Scan:
    """Given bytes that hold one pickle and nothing else, return what it says.

    trust: patterns of names, such as `pkg.*`, that are no fault although neither torch nor the Trainer knows them.
    room: bytes that its values may take, roughly.
    """
    (first,), end = scan_stream(raw, 1, trust=trust, room=room)
    if end == len(raw) or any(code in ("truncated", "bad-pickle", "too-large") for code, _ in first.faults):
        return first
    return first._replace(faults=[*first.faults, ("bad-pickle", f"{len(raw) - end} bytes after its end")])


def scan_stream(
    raw: bytes | bytearray, count: int, start: int = 0, trust: Sequence[str] = (), room: int = ROOM
) -> tuple[list[Scan], int]:
    """Given bytes with `count` pickles in a row from `start`, return what each says and the offset after the last.

    Fewer come back if one can't be followed to its end: the last one's faults say why.
    """
    if len(raw) - start > LARGEST_BYTES:
        return [Scan([("too-large", f"{len(raw) - start} bytes, {LARGEST_BYTES} can be judged")], (), OPAQUE)], start
    scans, ended = list[Scan](), True
    while ended and len(scans) < count:
        machine = Machine(raw, start, trust, room)
        scans.append(_scan_one(machine))
        start, ended = machine.at, machine.ended
    return scans, start


def _scan_one(machine: Machine) -> Scan:
    """Follow a pickle to its end and return what it says."""
    value: Any = OPAQUE
    try:
        value = _run_opcodes(machine)
    except Broken as broken:
        machine.faults[broken.args[0], broken.args[1]] = None
    except ValueError as error:  # of a number or a text
        machine.faults["bad-pickle", f"before byte {machine.at}: {str(error)[:100]}"] = None
    if machine.getattrs > 0:
        machine.fault("unsafe-pickle", f"hands {GETATTR} on as a value")
    names = tuple(sorted({global_.name for global_ in machine.globals.values()}))
    return Scan(list(machine.faults), names, value if machine.room > 0 else OPAQUE, machine.storages)


def _run_opcodes(machine: Machine) -> Any:
    raw, size, stack, marks = machine.raw, len(machine.raw), machine.stack, machine.marks
    for _ in range(MOST_OPCODES):
        if machine.at >= size:
            raise Broken("truncated", f"{size} bytes, and its end is not among them")
        action = ACTIONS.get(code := raw[machine.at])
        machine.at += 1
        if action is None:
            return _end_value(machine, code)
        action(machine)
        if len(stack) > MOST_VALUES or len(marks) > MOST_MARKS:
            raise Broken("too-large", f"holds more than {MOST_VALUES} values or {MOST_MARKS} marks at once")
    raise Broken("too-large", f"more than {MOST_OPCODES} opcodes")


def _end_value(machine: Machine, code: int) -> Any:
    if code != ord("."):
        raise Broken("bad-pickle", f"byte {machine.at - 1} is not an opcode that a file can hold")
    machine.ended, value = True, machine.pop()
    if machine.stack or machine.marks:
        machine.fault("bad-pickle", "values are left over at its end, so no pickler wrote it")
    return value


ACTIONS: dict[int, Callable[[Machine], object]] = {ord(code): action for code, action in {
    "\x80": Machine.protocol, "\x95": Machine.frame, "(": lambda m: m.marks.append(len(m.stack)),
    "0": Machine.pop_any, "1": Machine.to_mark, "2": lambda m: m.push(m.top()), "N": lambda m: m.push(None),
    "\x88": lambda m: m.push(True), "\x89": lambda m: m.push(False), "K": lambda m: m.push(m.number(1)),
    "M": lambda m: m.push(m.number(2), 30), "J": lambda m: m.push(m.number(4, signed=True), 30),
    "I": lambda m: m.push(inert.integer(m.line()), 60), "L": lambda m: m.push(inert.integer(m.line()), 60),
    "\x8a": lambda m: m.push(inert.long(m.sized(1)), 60),
    "\x8b": lambda m: m.push(inert.long(m.sized(4, inert.LONGEST_NUMBER)), 60),
    "F": lambda m: m.push(float(m.line()), 30), "G": lambda m: m.push(DOUBLE.unpack_from(m.raw, m.take(8))[0], 30),
    "X": lambda m: m.push_text(m.sized(4)), "\x8c": lambda m: m.push_text(m.sized(1)),
    "\x8d": lambda m: m.push_text(m.sized(8)), "V": lambda m: m.push_text(inert.unescaped(m.line())),
    "U": lambda m: m.push_text(m.sized(1), "replace"), "T": lambda m: m.push_text(m.sized(4), "replace"),
    "S": Machine.push_quoted, "C": lambda m: m.push_bytes(1), "B": lambda m: m.push_bytes(4),
    "\x8e": lambda m: m.push_bytes(8), "\x96": lambda m: m.push_bytes(8), ")": lambda m: m.push(()),
    "t": lambda m: m.push_all(tuple, m.to_mark()), "\x85": lambda m: m.push_all(tuple, m.several(1)),
    "\x86": lambda m: m.push_all(tuple, m.several(2)), "\x87": lambda m: m.push_all(tuple, m.several(3)),
    "]": lambda m: m.push([], 60), "l": lambda m: m.push_all(list, m.to_mark()), "a": lambda m: m.extend(m.several(1)),
    "e": lambda m: m.extend(m.to_mark()), "}": lambda m: m.push({}, 70), "d": lambda m: m.push_dict(m.to_mark()),
    "s": lambda m: m.fill(m.several(2)), "u": lambda m: m.fill(m.to_mark()), "\x8f": lambda m: m.push(OPAQUE),
    "\x90": lambda m: m.extend(m.to_mark()), "\x91": lambda m: m.push_all(lambda _: OPAQUE, m.to_mark()),
    "p": lambda m: m.put(inert.integer(m.line())), "q": lambda m: m.put(m.number(1)),
    "r": lambda m: m.put(m.number(4)), "\x94": lambda m: m.put(m.remembered),
    "g": lambda m: m.get(inert.integer(m.line())), "h": lambda m: m.get(m.number(1)),
    "j": lambda m: m.get(m.number(4)), "c": lambda m: m.push_global(m.line().decode(), m.line().decode()),
    "\x93": lambda m: m.push_global(*m.several(2)), "\x82": lambda m: m.push_extension(1),
    "\x83": lambda m: m.push_extension(2), "\x84": lambda m: m.push_extension(4),
    "i": lambda m: m.inst(m.to_mark()), "o": lambda m: m.obj(*m.to_mark()),
    "R": lambda m: m.reduce(*m.several(2)), "\x81": lambda m: m.push_new(*m.several(2)),
    "\x92": lambda m: m.push_new(*m.several(3)), "b": lambda m: m.build(m.pop()),
    "P": lambda m: m.push_persistent(m.line().decode()), "Q": lambda m: m.push_persistent(m.pop()),
}.items()}  # fmt: skip
