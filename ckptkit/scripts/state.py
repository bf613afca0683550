"""What is known while a Python script is read, and what was found in it."""

from __future__ import annotations

import ast
from typing import NamedTuple

from ckptkit.scripts.names import OUTPUT_DIR, means_checkpoints, says_several, unknown
from ckptkit.scripts.value import (
    ALL,
    CHECKPOINTS,
    LISTED,
    NOTHING,
    OTHER,
    OUTPUT,
    WORST_FIRST,
    Order,
    Source,
    Value,
    join,
    worst,
)

MOST_LOOKS = 200_000  # at a node; a training of 2,000 lines takes 30,000
DEEPEST_CALL = 12


class TooMuchError(Exception):
    """A script that is too large, or too entangled, to be followed to its end."""


class Test(NamedTuple):
    """A condition that stands above what is read now: the loop that it is about, and by what it chooses."""

    root: int
    picks: frozenset[Order]


class State:
    """Where the reading stands. names: of the scope that is read. deletions: {line: (order, assumed, in a class)}."""

    def __init__(self, tree: ast.Module) -> None:
        self.names: dict[str, Value] = {}
        self.module: dict[str, Value] = {}
        self.attributes: dict[str, Value] = {}  # of self, by class
        self.closures: dict[ast.AST, dict[str, Value]] = {}
        self.functions: dict[str, ast.AST] = {}
        self.classes: dict[ast.AST, str] = {}  # the class of each method
        self.aliases = dict(_aliases(tree))
        self.inside: list[ast.AST] = []  # the functions that are read now, the innermost last
        self.tests: list[Test] = []
        self.returns: list[Value] = []
        self.called: dict[object, Value] = {}
        self.deletions: dict[int, tuple[Order, bool, bool]] = {}
        self.looks = 0
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self.classes |= {child: node.name for child in node.body if _is_function(child)}
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.functions[node.name] = node
        self.methods = {getattr(method, "name", ""): method for method in self.classes}
        self.functions |= {f"{name}.{getattr(method, 'name', '')}": method for method, name in self.classes.items()}

    def look(self) -> None:
        """Count one node. Raises TooMuchError."""
        self.looks += 1
        if self.looks > MOST_LOOKS:
            raise TooMuchError

    @property
    def class_name(self) -> str:
        """The class whose method is read now, or ""."""
        return next((self.classes[node] for node in reversed(self.inside) if node in self.classes), "")

    def dotted(self, node: ast.AST) -> str:
        """Given a name with its dots, return it as it is imported: `rm` is shutil.rmtree; "" if it is none."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self.dotted(node.value)
            return f"{before}.{node.attr}" if before else ""
        return ""

    def by_name(self, name: str, value: Value) -> Value:
        """Return the value as its name lets it be understood."""
        if says_several(name) and value.listed:
            return value._replace(source=CHECKPOINTS)
        if says_several(name) and OTHER in value.order:  # of what they are made is not known
            return value._replace(source=CHECKPOINTS, assumed=True, depth=1, measure=OTHER)
        if OUTPUT_DIR.search(name) and not value.listed and value.text and not means_checkpoints(value.text):
            return value._replace(text=unknown(name))  # its name says more than "./results"
        return value

    def put(self, name: str, value: Value) -> None:
        """Bind a name of this scope, or an attribute of self."""
        value = self.by_name(name, value)
        if not name.startswith("self."):
            self.names[name] = value
            return
        name = f"{self.class_name}.{name}"
        held = self.attributes.get(name, NOTHING)
        self.attributes[name] = join((held, value)) if held.listed or held.text else value

    def get(self, name: str) -> Value | None:
        """The value of a name, or of an attribute of self, if one was bound."""
        if name.startswith("self."):
            return self.attributes.get(f"{self.class_name}.{name}")
        return self.names.get(name, self.module.get(name))

    def delete(self, value: Value, node: ast.AST, tree: bool) -> None:
        """Note that the script deletes this. tree: whole directories too, as rmtree does."""
        if value.source != CHECKPOINTS and not (value.source == OUTPUT and tree):
            return
        tests = (test.picks for test in self.tests if test.root and test.root == value.root)
        picks = value.picks or frozenset().union(*tests)
        self.note(getattr(node, "lineno", 0), worst(picks), value.assumed)

    def note(self, line: int, order: Order, assumed: bool = False) -> None:
        """Keep what is sure before what is assumed, and the worst of each line."""
        new = (order, assumed, bool(self.class_name))
        held = self.deletions.get(line, (ALL, True, new[2]))
        if (assumed, WORST_FIRST.index(order)) <= (held[1], WORST_FIRST.index(held[0])):
            self.deletions[line] = new


def parameter(name: str, default: Value) -> Value:
    """What is known of a parameter when nobody is seen to call the function."""
    if says_several(name):
        return Value(source=CHECKPOINTS, depth=1, order=frozenset({OTHER}), assumed=True)
    return Value(text=default.text if means_checkpoints(default.text) else unknown(name))


def listing(source: Source) -> Value:
    """What a listing returns."""
    return Value(source=source or LISTED, depth=1)


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def _aliases(tree: ast.Module) -> list[tuple[str, str]]:
    """(name in this script, what it is) of each import, wherever it stands."""
    aliases = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases += [(alias.asname, alias.name) for alias in node.names if alias.asname]
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases += [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]
    return aliases
