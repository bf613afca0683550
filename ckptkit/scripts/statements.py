"""Reads the statements of a Python script in their order, as far as checkpoints are concerned."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from ckptkit.scripts.calls import Calls
from ckptkit.scripts.expressions import root_of
from ckptkit.scripts.state import parameter
from ckptkit.scripts.value import NOTHING, OTHER, Value, field, item, join, picked

if TYPE_CHECKING:
    from collections.abc import Sequence


class Statements(Calls):
    """Reads a module, and each function in it: by itself, and where it is called with what it is given there."""

    def read(self, tree: ast.Module) -> None:
        """Read a whole script. Raises TooMuchError."""
        for _ in range(2):  # what one method keeps in self, another one deletes
            self.deletions, self.called = {}, {}
            self.names = self.module = {}
            self.block(tree.body)
            self.module = self.names
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    self._alone(node)

    def _alone(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Read a function as one that nobody is seen to call: the Trainer calls its callbacks."""
        self.names = dict(self.closures.get(function, {}))
        every = self.defaults(function)
        self.names |= {name: parameter(name, default or NOTHING) for name, default in every.items()}
        self.tests, self.returns = [], []
        self.inside.append(function)
        self.body_of(function)
        self.inside.pop()
        self.names = {}

    def body_of(self, function: ast.AST) -> Value:
        """Read a function's body in the names that are bound; return what it returns."""
        if isinstance(function, ast.Lambda):
            return self.value(function.body)
        self.block(getattr(function, "body", ()))
        return join(self.returns)

    def block(self, statements: Sequence[ast.stmt]) -> bool:
        """Read statements in their order; return whether they leave for good: return, continue, break, raise."""
        above = len(self.tests)
        for statement in statements:
            self.look()
            read = getattr(self, f"_{type(statement).__name__.lower()}_", None)
            leaves = read(statement) if read is not None else self._all(statement)
            if leaves:
                del self.tests[above:]
                return True
        del self.tests[above:]
        return False

    def _all(self, statement: ast.AST) -> bool:
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.expr):
                self.value(child)
        return isinstance(statement, (ast.Return, ast.Continue, ast.Break, ast.Raise))

    def _return_(self, statement: ast.Return) -> bool:
        self.returns.append(self.value(statement.value))
        return True

    # --- names ------------------------------------------------------------------------------------------------------

    def _assign_(self, statement: ast.Assign) -> None:
        parts = statement.value.elts if isinstance(statement.value, (ast.Tuple, ast.List)) else []
        for target in statement.targets:
            elements = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
            if elements and len(elements) == len(parts):
                for element, part in zip(elements, parts, strict=True):
                    self.bind(element, self.value(part))
            else:
                self.bind(target, self.value(statement.value))

    def _annassign_(self, statement: ast.AnnAssign) -> None:
        if statement.value is not None:
            self.bind(statement.target, self.value(statement.value))

    def _augassign_(self, statement: ast.AugAssign) -> None:
        held, more = self.value(statement.target), self.kept(self.value(statement.value))
        text = held.text + more.text if isinstance(statement.op, ast.Add) else ""
        value = join([side for side in (held, more) if side.listed])
        if isinstance(statement.op, ast.Sub) and held.listed:
            value = held._replace(picks=held.picks | more.picks)
        self.bind(statement.target, value._replace(text=text))

    def bind(self, target: ast.AST, value: Value) -> None:
        """Bind what stands left of `=`."""
        if isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                if isinstance(element, ast.Starred):
                    self.bind(element.value, picked(value))
                else:
                    self.bind(element, self._part(value, target.elts, element))
            return
        name = self.dotted(target)
        if isinstance(target, ast.Subscript):
            at, owner = self.value(target.slice), self.dotted(target.value)
            held = self.value(target.value)
            if (value.listed or at.listed) and owner:
                values = join([element for element in (held, value, at) if element.listed])
                fields = tuple(element.measure or ("" if element.listed else OTHER) for element in (at, value))
                self.put(owner, values._replace(depth=held.depth or 1, measure=fields[0], fields=fields))
        elif name.startswith("self.") and self.kept(value).listed:
            self.put(name, self.kept(value))  # the save before, which the next one deletes
        elif name and ("." not in name or name.startswith("self.")):
            self.put(getattr(target, "id", name), value)

    def _part(self, value: Value, targets: Sequence[ast.expr], target: ast.expr) -> Value:
        """What one of several names left of `=` gets: an item of a sequence, or a part of a pair."""
        if value.depth:
            return item(picked(value) if value.depth == 1 else value)
        return field(value, targets.index(target)) if len(value.fields) == len(targets) else value

    def _delete_(self, statement: ast.Delete) -> None:
        for target in statement.targets:
            if isinstance(target, ast.Subscript):
                owner, held = self.dotted(target.value), self.value(target.value)
                if owner and held.depth:
                    self.put(owner, picked(held))

    # --- branches and loops -----------------------------------------------------------------------------------------

    def _if_(self, statement: ast.If) -> bool:
        before, above = dict(self.names), len(self.tests)
        self.refine(statement.test, True)
        leaves = self.block(statement.body)
        then = self.names
        del self.tests[above:]
        self.names = before
        self.refine(statement.test, False)
        otherwise = self.tests[above:]
        leaves_otherwise = self.block(statement.orelse)
        del self.tests[above:]
        if leaves and not leaves_otherwise:
            self.tests += otherwise  # what follows is under the opposite
        elif leaves_otherwise and not leaves:
            self.names = then
        else:
            self.names = self._either(then, self.names)
        return leaves and leaves_otherwise

    def _either(self, names: dict[str, Value], other_names: dict[str, Value]) -> dict[str, Value]:
        merged = dict(names)
        for name, value in other_names.items():
            if name not in names or names[name] != value:
                held = names.get(name, value)
                known = [side for side in (held, value) if side.listed]  # `ckpts = []` in one branch says nothing
                merged[name] = known[0] if len(known) == 1 else join((held, value))
        return merged

    def _for_(self, statement: ast.For | ast.AsyncFor) -> bool:
        through, above = self.value(statement.iter), len(self.tests)
        if _breaks(statement.body):  # after so many of them
            through = picked(through)
        self.unpack(statement.target, item(through, root_of(statement.iter)), statement.iter)
        before = dict(self.names)
        self.block(statement.body)
        self.names = self._either(self.names, before)
        del self.tests[above:]
        self.block(statement.orelse)
        return False

    _asyncfor_ = _for_

    def _while_(self, statement: ast.While) -> bool:
        above = len(self.tests)
        self.refine(statement.test, True)
        self.block(statement.body)
        del self.tests[above:]
        self.block(statement.orelse)
        return False

    def _with_(self, statement: ast.With | ast.AsyncWith) -> bool:
        for with_item in statement.items:
            value = self.value(with_item.context_expr)
            if with_item.optional_vars is not None:
                self.bind(with_item.optional_vars, value) if not value.depth else self.unpack(
                    with_item.optional_vars, value, statement
                )
        return self.block(statement.body)

    _asyncwith_ = _with_

    def _try_(self, statement: ast.Try) -> bool:
        leaves = self.block(statement.body)
        after = dict(self.names)
        for handler in statement.handlers:
            self.block(handler.body)
        self.names = self._either(after, self.names)
        leaves = self.block(statement.orelse) or leaves
        return self.block(statement.finalbody) or (leaves and not statement.handlers)

    _trystar_ = _try_

    def _match_(self, statement: ast.Match) -> bool:
        self.value(statement.subject)
        before = dict(self.names)
        for case in statement.cases:
            self.names, after = dict(before), self.names
            self.block(case.body)
            self.names = self._either(after, self.names)
        return False

    # --- definitions ------------------------------------------------------------------------------------------------

    def _functiondef_(self, statement: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        if self.inside:
            self.closures[statement] = dict(self.names)
        return False

    _asyncfunctiondef_ = _functiondef_

    def _classdef_(self, statement: ast.ClassDef) -> bool:
        if self.inside:
            self.closures |= {child: dict(self.names) for child in statement.body}
        outer = self.names
        self.names = dict(outer)
        self.block(statement.body)
        self.names = outer
        return False


def _breaks(statements: Sequence[ast.stmt]) -> bool:
    """Whether a loop may end before its last round."""
    for statement in statements:
        if isinstance(statement, ast.Break):
            return True
        if isinstance(statement, (ast.If, ast.With, ast.Try)):
            parts = (statement.body, getattr(statement, "orelse", []), getattr(statement, "finalbody", []))
            if any(_breaks(part) for part in parts):
                return True
    return False
