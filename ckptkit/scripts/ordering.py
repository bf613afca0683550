"""What a call in a Python script lists, sorts and chooses."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from ckptkit.scripts import known
from ckptkit.scripts.expressions import Expressions
from ckptkit.scripts.names import listing_of, measure_of
from ckptkit.scripts.state import listing
from ckptkit.scripts.value import (
    CHECKPOINTS,
    NAMES,
    NOTHING,
    NUMBERS,
    OTHER,
    TIMES,
    Value,
    field,
    item,
    join,
    picked,
    sorted_by,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptkit.scripts.value import Order

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Call(NamedTuple):
    """A call. name: with its dots, as imported. method: its last part, if a dot stands before it. base: of a method."""

    node: ast.Call
    name: str
    method: str
    base: Value
    arguments: list[Value]
    keywords: dict[str, Value]

    @property
    def short(self) -> str:
        """Its last part."""
        return self.name.rpartition(".")[2] or self.method

    @property
    def first(self) -> Value:
        """The first of what it is given."""
        return self.arguments[0] if self.arguments else NOTHING


class Ordering(Expressions):
    """Reads calls that list, sort and choose."""

    def invoke(self, function: ast.AST, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        """Read a function of the script with what it is given; return what it returns."""
        raise NotImplementedError

    def lists(self, call: Call) -> Value | None:
        """A listing. One of what a listing gave (what lies in a checkpoint) lists others."""
        path = call.keywords.get("path", call.keywords.get("pathname", Value(text=".")))
        where = call.first if call.arguments else path
        if call.name in known.LISTS_PATTERN:
            root = call.keywords.get("root_dir", NOTHING).text
            return self._listed(where, f"{root}/{where.text}" if root else where.text)
        if call.name in known.LISTS or call.method in ("listdir", "ls"):
            value = self._listed(where, f"{where.text}/*")
            return value._replace(depth=2) if call.name == "os.walk" else value
        if call.method in ("glob", "rglob"):
            return self._listed(call.base, f"{call.base.text}/{where.text}")
        if call.method == "iterdir":
            return self._listed(call.base, f"{call.base.text}/*")
        if call.short in ("_sorted_checkpoints", "sort_checkpoints"):  # the Trainer's own
            by_time = call.keywords.get("use_mtime", NOTHING).text == "True"
            return sorted_by(listing(CHECKPOINTS), TIMES if by_time else NUMBERS)
        if call.short == "get_last_checkpoint":
            return Value(source=CHECKPOINTS, picks=frozenset({NUMBERS}))
        return None

    def _listed(self, where: Value, pattern: str) -> Value:
        if not where.listed:
            return listing(listing_of(pattern))
        inside = listing_of(pattern.rpartition("/")[2])
        return where._replace(source=inside, text="", depth=1)

    def sorts(self, call: Call) -> Value | None:
        """What sorts a sequence, or chooses from it by its order."""
        owner = call.node.func
        if call.method == "sort" and call.base.listed and isinstance(owner, ast.Attribute):
            self.change(owner.value, sorted_by(call.base, self._order(call.base, call.keywords.get("key"))))
            return NOTHING
        if call.short in known.SORTS_NUMBERS and call.arguments:
            return sorted_by(call.first, NUMBERS)
        if call.short not in known.SORTS or not call.arguments:
            return None
        counts = call.short in ("nsmallest", "nlargest")
        through = call.arguments[1] if counts and len(call.arguments) > 1 else call.first
        if call.short in ("min", "max") and len(call.arguments) > 1:
            through = join(call.arguments)
        if not through.listed:
            return through._replace(order=frozenset())
        key = call.keywords.get("key", call.arguments[2] if counts and len(call.arguments) > 2 else None)
        ordered = sorted_by(through, self._order(through, key))
        if call.short in ("min", "max"):
            return item(picked(ordered))
        return picked(ordered) if counts else ordered

    def _order(self, through: Value, key: Value | None) -> Order:
        """By what a sequence is sorted with this key, or without one."""
        if key is None or key.text == "None":
            return through.measure or NAMES
        if isinstance(key.function, FUNCTIONS):
            value = self.invoke(key.function, [item(through)], {})
            return value.measure or (NAMES if value.listed else OTHER)
        if key.text.isdigit():  # itemgetter(1)
            return field(item(through), int(key.text)).measure or NAMES
        name = str(key.function or "")
        if name in known.MEASURES:
            return known.MEASURES[name]
        return NAMES if name in known.TEXT_OF else key.measure or measure_of(name)

    def measures(self, call: Call) -> Value | None:
        """What makes a number or a time of a name."""
        if call.name in known.MEASURES and call.arguments:
            return call.first._replace(measure=known.MEASURES[call.name])
        if call.name == "len" and call.arguments:
            return call.first._replace(measure=NUMBERS) if call.first.listed and not call.first.depth else NOTHING
        if call.method in ("zfill", "rjust"):
            return call.base._replace(measure=NUMBERS)
        if call.short in ("attrgetter", "itemgetter") and call.arguments:
            text = call.first.text
            return Value(text=text, measure=NAMES if text in ("name", "path", "stem") else measure_of(text))
        return None

    def holds(self, call: Call) -> Value | None:
        """The script's own lists: what goes in, and what is taken out."""
        owner = call.node.func.value if isinstance(call.node.func, ast.Attribute) else call.node
        if call.method in ("append", "add", "appendleft", "insert", "extend", "update") and call.arguments:
            added = self.kept(call.arguments[-1])
            if added.listed:
                measure = call.base.measure or added.measure
                self.change(owner, join((call.base, added))._replace(depth=call.base.depth or 1, measure=measure))
            return NOTHING
        if call.method in ("pop", "popleft") and call.base.depth:
            if not call.base.listed:
                return call.base
            self.change(owner, picked(call.base))
            return item(picked(call.base))
        takes_out = call.method in ("remove", "discard", "difference", "difference_update")
        if takes_out and call.arguments and call.base.listed:
            rest = call.base._replace(picks=call.base.picks | call.first.picks)
            if call.method != "difference":
                self.change(owner, rest)
            return rest
        return None

    def kept(self, value: Value) -> Value:
        """What a script keeps of its own saves: `checkpoint-` and the step, to be deleted later."""
        if value.listed or not known.OWN_SAVE.search(value.text):
            return value
        return Value(source=CHECKPOINTS, order=frozenset({OTHER}), picks=frozenset({OTHER}))

    def change(self, owner: ast.AST, value: Value) -> None:
        """Note what became of a sequence in its place."""
        name = self.dotted(owner)
        if name and ("." not in name or name.startswith("self.")):
            self.put(name, value)
