"""What an expression of a Python script comes to, as far as checkpoints are concerned."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from ckptkit.scripts.names import WORD, clean, hint_of, lies_in, measure_of, opposite, refined, unknown
from ckptkit.scripts.state import State, Test
from ckptkit.scripts.value import (
    CHECKPOINTS,
    CLOSE,
    NOTHING,
    NUMBERS,
    OPEN,
    OTHER,
    OTHERS,
    TIMES,
    Order,
    Value,
    chosen,
    field,
    item,
    join,
    picked,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptkit.scripts.value import Hint

STEP = re.compile(r"(?i)step|iteration|epoch")
TEXT_FIELDS = ("name", "stem", "path", "parts", "suffix")
RECKONED = re.compile(rf"{WORD.pattern}[-_]?{OPEN}[^{CLOSE}]* - n{CLOSE}")
PERCENT, BRACES = re.compile(r"%(?:\(\w+\))?[-+ #\d.]*[sdrif]"), re.compile(r"\{[^{}]*\}")
PREFIX = re.compile(r"(?i)(checkpoint|ckpt|global_step)[-_]?")


class Expressions(State):
    """Reads expressions. Statements and calls are read by its children."""

    def call(self, node: ast.Call) -> Value:
        """What a call returns."""
        raise NotImplementedError

    def value(self, node: ast.AST | None) -> Value:
        """Given an expression, return what is known of it."""
        self.look()
        read = getattr(self, f"_{type(node).__name__.lower()}", None)
        if read is not None:
            return read(node)  # type: ignore[no-any-return]
        for child in ast.iter_child_nodes(node) if node is not None else ():
            if isinstance(child, ast.expr):
                self.value(child)
        return NOTHING

    def _constant(self, node: ast.Constant) -> Value:
        return Value(text=clean(node.value) if isinstance(node.value, str) else str(node.value))

    def _name(self, node: ast.Name) -> Value:
        held = self.get(node.id)
        if held is not None:
            return held
        function = self.functions.get(node.id) or self.aliases.get(node.id, node.id)
        return Value(text=unknown(node.id), function=function)

    def _attribute(self, node: ast.Attribute) -> Value:
        name = self.dotted(node)
        held = self.get(name)
        if held is not None:
            return held
        base = self.value(node.value)
        if node.attr.startswith("st_") and node.attr.rstrip("ns_").endswith("time"):
            return base._replace(measure=TIMES)
        if node.attr == "parent":
            return Value(text=base.text.rpartition("/")[0])
        if base.listed and not name.startswith("self."):
            return base if node.attr in TEXT_FIELDS else base._replace(measure=measure_of(node.attr))
        unbound = Value(text=unknown(name or node.attr), order=frozenset({OTHER}), function=self._method(node) or name)
        return self.by_name(node.attr, unbound)

    def _method(self, node: ast.Attribute) -> ast.AST | None:
        """The script's own function that `self.name` or `Class.name` is."""
        owner = self.class_name if self.dotted(node.value) in ("self", "cls") else self.dotted(node.value)
        return self.functions.get(f"{owner}.{node.attr}")

    def _joinedstr(self, node: ast.JoinedStr) -> Value:
        parts = [self.value(part) for part in node.values]
        padded = any(getattr(part, "format_spec", None) is not None for part in node.values)
        measured = padded and any(part.measure == NUMBERS for part in parts)
        return self.text(parts)._replace(measure=NUMBERS if measured else "")

    def _formattedvalue(self, node: ast.FormattedValue) -> Value:
        return self.value(node.value)

    def text(self, parts: Sequence[Value], between: str = "") -> Value:
        """A text, or a path, that is made of these."""
        texts = [part.text or (unknown("?")) for part in parts]
        listed = [number for number, part in enumerate(parts) if part.listed]
        if not listed:
            return Value(text=between.join(texts))
        last = listed[-1]
        value = parts[last] if between else join([parts[number] for number in listed])
        if lies_in(between.join(("", *texts[last + 1 :]))):
            value = value._replace(source=OTHERS)
        return _computed(value._replace(text=between.join(texts), measure="", hint=""))

    def filled(self, template: str, place: re.Pattern[str], arguments: Sequence[Value]) -> Value:
        """A text in whose places these are written, one after the other."""
        values, parts = iter(arguments), list[Value]()
        for number, plain in enumerate(place.split(template)):
            parts += [next(values, Value(text=unknown("?")))] if number else []
            parts += [Value(text=plain)] if plain else []
        return self.text(parts or [NOTHING])

    def _binop(self, node: ast.BinOp) -> Value:
        left = self.value(node.left)
        if isinstance(node.op, ast.Mod) and left.text and not left.listed:
            parts = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
            return self.filled(left.text, PERCENT, [self.value(part) for part in parts])
        right = self.value(node.right)
        if isinstance(node.op, ast.Div):
            return self.text((left, right), "/")
        if isinstance(node.op, ast.Sub) and left.listed:
            return left._replace(picks=left.picks | right.picks)
        if isinstance(node.op, ast.Sub) and STEP.search(left.text):
            return Value(
                text=unknown(f"{left.text.strip(OPEN + CLOSE)} - n"),
                source=OTHERS,
                picks=frozenset({NUMBERS}),
                measure=NUMBERS,
            )
        if isinstance(node.op, ast.Add):
            return join((left, right)) if left.depth or right.depth else self.text((left, right))
        return join((left, right)) if left.listed or right.listed else NOTHING

    def _subscript(self, node: ast.Subscript) -> Value:
        base, at = self.value(node.value), self.value(node.slice)
        if isinstance(node.slice, ast.Slice):
            whole = node.slice.lower is None and node.slice.upper is None
            return base if whole or not base.depth else picked(base)
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if at.listed and not base.listed:  # what is looked up by a checkpoint's name
            return at._replace(measure=OTHER)
        if base.depth:
            kept = base if at.listed else picked(base)
            if not at.listed and OTHER in at.order:  # an index that was made elsewhere, as argsort does
                kept = base._replace(picks=base.picks | {OTHER})
            return item(kept._replace(picks=kept.picks | at.picks))
        if isinstance(key, str) and base.listed:
            return base if key in (*TEXT_FIELDS, "dir", "folder") else base._replace(measure=measure_of(key))
        if isinstance(key, str):
            return Value(text=unknown(key))
        place = -1 if isinstance(node.slice, ast.UnaryOp) else key
        return field(base, place) if isinstance(place, int) and (base.fields or base.measure) else base

    def _slice(self, node: ast.Slice) -> Value:
        for part in (node.lower, node.upper, node.step):
            if part is not None:
                self.value(part)
        return NOTHING

    def _tuple(self, node: ast.Tuple) -> Value:
        items = [self.value(part) for part in node.elts]
        fields = tuple(part.measure or ("" if part.listed else OTHER) for part in items)
        text = " ".join(part.text for part in items)
        return _listed(items)._replace(text=text, fields=fields, measure=fields[0] if fields else "")

    def _list(self, node: ast.List | ast.Set) -> Value:
        items = [self.value(part) for part in node.elts]
        value, text = _listed(items), " ".join(part.text for part in items)
        measure = value.measure if all(part.listed for part in items) else OTHER
        return value._replace(text=text, depth=value.depth + 1, measure=measure)

    _set = _list

    def _dict(self, node: ast.Dict) -> Value:
        for key in node.keys:
            self.value(key)
        return join([NOTHING, *(self.value(value) for value in node.values)])._replace(depth=1)

    def _starred(self, node: ast.Starred) -> Value:
        return self.value(node.value)

    _await = _starred

    def _ifexp(self, node: ast.IfExp) -> Value:
        self.value(node.test)
        return join((self.value(node.body), self.value(node.orelse)))

    def _namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.value(node.value)
        self.put(node.target.id, value)
        return value

    def _lambda(self, node: ast.Lambda) -> Value:
        self.closures[node] = dict(self.names)
        return Value(function=node)

    def _call(self, node: ast.Call) -> Value:
        return self.call(node)

    # --- loops in one line ------------------------------------------------------------------------------------------

    def _listcomp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> Value:
        return self._comprehension(node.generators, (node.elt,))

    _setcomp = _generatorexp = _listcomp

    def _dictcomp(self, node: ast.DictComp) -> Value:
        return self._comprehension(node.generators, (node.key, node.value))

    def _comprehension(self, loops: Sequence[ast.comprehension], parts: Sequence[ast.expr]) -> Value:
        outer, above = self.names, len(self.tests)
        self.names, order = dict(outer), frozenset[Order]()
        for loop in loops:
            through = self.value(loop.iter)
            order = through.order
            self.unpack(loop.target, item(through, root_of(loop.iter)), loop.iter)
            for test in loop.ifs:
                self.refine(test, True)
        items = [self.value(part) for part in parts]
        value = _listed(items) if any(part.listed for part in items) else items[-1]
        tests = frozenset().union(*(t.picks for t in self.tests[above:] if t.root and t.root == value.root))
        self.names = outer
        del self.tests[above:]
        fields = (items[0].measure, items[1].measure) if len(items) == 2 else items[0].fields
        value = chosen(value, tests)._replace(measure=items[0].measure, fields=fields, order=order, function=None)
        return value._replace(depth=value.depth + 1)

    def unpack(self, target: ast.AST, value: Value, origin: ast.AST) -> None:
        """Bind what a loop goes through. origin: what it goes through, as it stands there."""
        called = self.dotted(origin.func) if isinstance(origin, ast.Call) else ""
        if called == "enumerate" and isinstance(target, ast.Tuple) and len(target.elts) == 2:
            through = self.value(origin.args[0]) if isinstance(origin, ast.Call) and origin.args else NOTHING
            place = Value(picks=picked(through).picks, root=value.root)
            self.unpack(target.elts[0], place, target)
            self.unpack(target.elts[1], value, target)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for number, element in enumerate(target.elts):
                part = field(value, number) if len(value.fields) == len(target.elts) else value
                self.unpack(element, value._replace(depth=1) if called == "os.walk" else part, target)
        elif isinstance(target, ast.Starred):
            self.unpack(target.value, value, target)
        elif isinstance(target, ast.Name):
            self.names[target.id] = value

    # --- tests ------------------------------------------------------------------------------------------------------

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        value = self.value(node.operand)
        return value._replace(hint=opposite(value.hint)) if isinstance(node.op, ast.Not) else value

    def _boolop(self, node: ast.BoolOp) -> Value:
        return join([self.value(part) for part in node.values])

    def _compare(self, node: ast.Compare) -> Value:
        sides = [self.value(node.left), *(self.value(side) for side in node.comparators)]
        measured = {side.measure for side in sides if side.listed and side.measure in (NUMBERS, TIMES)}
        picks = frozenset(measured).union(*(side.picks for side in sides))
        root = max(side.root for side in sides)
        return Value(picks=picks, root=root, hint=_hint(sides[0], node.ops[0], sides[1]))

    def refine(self, test: ast.AST, truth: bool) -> None:
        """Take a test to be true, or false: what its loop goes through is known better then."""
        for root, hint, picks in list(self._conditions(test, truth)):
            self.tests.append(Test(root, picks))
            for name, value in self.names.items() if root and hint else ():
                if value.root == root and value.listed:
                    self.names[name] = value._replace(source=refined(value.source, hint))

    def _conditions(self, test: ast.AST, truth: bool) -> Iterator[tuple[int, Hint, frozenset[Order]]]:
        """(loop, hint, choice) of each condition in a test."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            yield from self._conditions(test.operand, not truth)
        elif isinstance(test, ast.BoolOp):
            surely = isinstance(test.op, ast.And) == truth  # each of them is as the whole
            for part in test.values:
                for root, hint, picks in self._conditions(part, truth):
                    yield root, hint if surely or (truth and hint == "checkpoint") else "", picks
        else:
            value = self.value(test)
            measured = {value.measure} if value.listed and value.measure in (NUMBERS, TIMES) else frozenset()
            yield value.root, value.hint if truth else opposite(value.hint), value.picks | measured


def _listed(values: Sequence[Value]) -> Value:
    """What holds of those that come from a listing."""
    return join([value for value in values if value.listed])


def _hint(left: Value, op: ast.AST, right: Value) -> Hint:
    if isinstance(op, (ast.In, ast.NotIn)):
        hint = hint_of(left.text) if right.listed and not right.depth and not left.listed else ""
        return opposite(hint) if isinstance(op, ast.NotIn) else hint
    if left.hint:  # of a search: `is None`, `== -1` say that nothing was found
        missing = right.text in ("None", "-1", "False", "1") and isinstance(op, (ast.Is, ast.Eq))
        return opposite(left.hint) if missing else left.hint
    text = right.text if left.listed else left.text
    hint = "checkpoint" if PREFIX.fullmatch(text) else ""
    return opposite(hint) if isinstance(op, ast.NotEq) else hint


def root_of(node: ast.AST) -> int:
    """A number for the loop over this expression, another one for each."""
    return int(getattr(node, "lineno", 0)) * 10_000 + int(getattr(node, "col_offset", 0)) + 1


def _computed(value: Value) -> Value:
    """Given a path, return it as a checkpoint's if it is `checkpoint-` and a step that is reckoned."""
    if RECKONED.search(value.text):
        return value._replace(source=CHECKPOINTS, order=frozenset({NUMBERS}))
    return value
