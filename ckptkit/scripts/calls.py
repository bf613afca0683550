"""What a call in a Python script deletes, and what it hands on."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from ckptkit.scripts import known, shell
from ckptkit.scripts.expressions import BRACES, root_of
from ckptkit.scripts.names import hint_of, measure_of, refined
from ckptkit.scripts.ordering import FUNCTIONS, Call, Ordering
from ckptkit.scripts.state import DEEPEST_CALL
from ckptkit.scripts.value import NOTHING, OTHER, Value, item, join, picked, sorted_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Calls(Ordering):
    """Reads calls. The bodies of functions are read by its child."""

    def body_of(self, function: ast.AST) -> Value:
        """Read a function's body in the names that are bound; return what it returns."""
        raise NotImplementedError

    def call(self, node: ast.Call) -> Value:
        """What a call returns; what it deletes is noted."""
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        call = Call(
            node,
            self.dotted(node.func),
            node.func.attr if isinstance(node.func, ast.Attribute) else "",
            self.value(owner) if owner is not None else NOTHING,
            [self.value(argument) for argument in node.args],
            {keyword.arg or "**": self.value(keyword.value) for keyword in node.keywords},
        )
        for read in (self._own, self._deletes, self._runs, self.lists, self.sorts, self.measures, self.holds):
            result = read(call)
            if result is not None:
                return result
        return self._passes(call)

    # --- functions --------------------------------------------------------------------------------------------------

    def _own(self, call: Call) -> Value | None:
        """A function of the script's own, or one that is handed over to be called: map, submit, Thread."""
        function = self._function(call)
        if function is not None:
            return self.invoke(function, call.arguments, call.keywords)
        every = (*call.arguments, *call.keywords.values())
        called = [value.function for value in every if value.function]
        functions = [name for name in called if isinstance(name, FUNCTIONS) or known.deletes(name)]
        rest = [value for value in every if not value.function]
        if not functions or "key" in call.keywords or not any(value.listed for value in rest):
            return None
        return self._handed(functions[0], rest, call)

    def _function(self, call: Call) -> ast.AST | None:
        """The script's own function that is called."""
        if not call.method:
            function = self.value(call.node.func).function
            return function if isinstance(function, FUNCTIONS) else None
        owner = call.name.rpartition(".")[0]
        found = self.functions.get(f"{self.class_name if owner in ('self', 'cls') else owner}.{call.method}")
        if found is None and not call.base.listed and not known.is_builtin(call.name, call.method):
            return self.methods.get(call.method)
        return found

    def _handed(self, function: object, rest: Sequence[Value], call: Call) -> Value:
        """A function that is called with each of what stands beside it."""
        items = [item(value, value.root or root_of(call.node)) for value in rest]
        if isinstance(function, FUNCTIONS):
            result = self.invoke(function, items, {})
            if call.short == "filter":
                source = refined(rest[0].source, result.hint)
                return rest[0]._replace(source=source, picks=rest[0].picks | result.picks)
            return result._replace(depth=result.depth + 1) if call.short in ("map", "imap") else result
        for value in items:
            self.delete(value, call.node, function not in known.DELETES)
        return NOTHING

    def invoke(self, function: ast.AST, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> Value:
        """Read a function of the script with what it is given; return what it returns."""
        key = (function, tuple(arguments), tuple(keywords.items()), tuple(self.tests))
        if key in self.called or function in self.inside or len(self.inside) > DEEPEST_CALL:
            return self.called.get(key, NOTHING)
        outer, above, returns = self.names, self.tests, self.returns
        self.names = {**self.closures.get(function, {}), **self._bound(function, arguments, keywords)}
        self.tests, self.returns = list(above), []
        self.inside.append(function)
        self.called[key] = result = self.body_of(function)
        self.inside.pop()
        self.names, self.tests, self.returns = outer, above, returns
        return result

    def defaults(self, function: ast.AST) -> dict[str, Value | None]:
        """{parameter: its default, or None} of a function; not of self."""
        arguments: ast.arguments = function.args  # type: ignore[attr-defined]
        names = [parameter.arg for parameter in (*arguments.posonlyargs, *arguments.args)]
        defaults = dict[str, Value | None].fromkeys(names)
        defaults |= zip(reversed(names), map(self.value, reversed(arguments.defaults)), strict=False)
        for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            defaults[parameter.arg] = self.value(default) if default is not None else None
        if function in self.classes and names[:1] in (["self"], ["cls"]):
            del defaults[names[0]]
        return defaults

    def _bound(self, function: ast.AST, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> dict[str, Value]:
        every = self.defaults(function)
        bound: dict[str, Value | None] = {**every, **dict(zip(every, arguments, strict=False))}
        bound |= {name: value for name, value in keywords.items() if name in every}
        return {name: self.by_name(name, value) for name, value in bound.items() if value is not None}

    # --- deletions --------------------------------------------------------------------------------------------------

    def _deletes(self, call: Call) -> Value | None:
        tree = call.name in known.DELETES_TREES or call.method in ("rmtree", "rm")
        if not tree and call.name not in known.DELETES and call.method not in ("unlink", "rmdir"):
            return None
        paths = (*call.arguments, *call.keywords.values()) if call.arguments or "path" in call.keywords else ()
        for subject in (call.base,) if call.base.listed or not paths else paths:
            self.delete(subject, call.node, tree)
        return NOTHING

    def _runs(self, call: Call) -> Value | None:
        """A command: of the system, in one text or as a list of words."""
        if call.name not in known.RUNS and not known.RUNS_LIKELY.match(call.short):
            return None
        listed = join([NOTHING, *(value for value in call.arguments if value.listed)])
        text = " ".join(value.text for value in call.arguments) or call.keywords.get("args", NOTHING).text
        text = f"rm {text}" if call.name == "sh.rm" else text
        if listed.listed and shell.is_rm(text):
            self.delete(listed, call.node, True)
            return NOTHING
        for order in shell.orders_by_line(shell.from_python(text)).values():
            self.note(call.node.lineno, order)
        return Value(text=text, order=frozenset({OTHER}))

    # --- what it returns --------------------------------------------------------------------------------------------

    def _passes(self, call: Call) -> Value:
        """What a call returns of what it is given, or a part or a test of it."""
        listed = [value for value in (call.base, *call.arguments) if value.listed]
        if call.name in known.JOINS or call.method in ("joinpath", "join"):
            parts = [call.base, *call.arguments] if call.method == "joinpath" else call.arguments
            return self.text(parts or [NOTHING], "/")
        if call.method == "format":
            return self.filled(call.base.text, BRACES, call.arguments)
        if call.name == "re.compile":
            return call.first
        if call.short in known.TESTS:
            text = " ".join(value.text for value in (call.base, *call.arguments) if not value.listed)
            return join(listed)._replace(hint=hint_of(text)) if listed else NOTHING
        result = self._repeats(call, listed) if listed else None
        if result is not None:
            return result
        if call.short == "range":
            return join([NOTHING, *call.arguments])
        of_a_table = call.method in known.OF_A_TABLE and not call.base.listed  # that nobody knows
        if call.short in known.SAME and not of_a_table and (listed or call.arguments or call.base.text):
            return (listed or [call.base if call.base.text else call.first])[0]
        return self._unknown(call, listed)

    def _repeats(self, call: Call, listed: Sequence[Value]) -> Value | None:
        """What goes through a sequence in another way."""
        if call.short == "zip":
            fields = tuple(value.measure or ("" if value.listed else OTHER) for value in call.arguments)
            return join(listed)._replace(fields=fields, measure=fields[0], order=call.first.order)
        if call.short == "values" and call.base.fields:
            return call.base._replace(measure=call.base.fields[-1], fields=())
        if call.short == "set":
            return listed[0]._replace(order=frozenset())
        if call.short in ("next", "islice"):
            return picked(listed[0])._replace(depth=listed[0].depth if call.short == "islice" else 0)
        return None

    def _unknown(self, call: Call, listed: Sequence[Value]) -> Value:
        """What a function from elsewhere makes of checkpoints; an object from elsewhere may make anything of them."""
        owned = call.method and not call.base.listed and not call.name.startswith(("self.", "cls."))
        if not listed or owned:
            return Value(order=frozenset({OTHER}), measure=OTHER)
        value = join(listed)
        if value.depth:
            return sorted_by(value, measure_of(call.short) if "sort" in call.short else OTHER)
        return value._replace(measure=measure_of(call.short))
