"""`typing.NamedTuple` for whoever reads and checks the types; at run time the same from a base class.

The real one compiles a constructor for each class. With thirty nouns that is a sixth of all that `bin/prune` does when
cron starts it and there is nothing to do (`python -m benchmarks.startup`).
"""

from __future__ import annotations

from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, NamedTuple
else:

    class NamedTuple(tuple):
        """A tuple whose items have the names of the class's annotations, and their defaults."""

        _fields: ClassVar[tuple] = ()
        _defaults: ClassVar[dict] = {}

        def __init_subclass__(cls) -> None:
            if not cls.__annotations__:
                return  # a child that adds methods keeps its parent's items
            own = {name: vars(cls)[name] for name in cls.__annotations__ if name in vars(cls)}
            cls._fields, cls._defaults = tuple(cls.__annotations__), own
            for index, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(index)))

        def __new__(cls, *given: Any, **named: Any) -> Any:
            """Items in order, by name, or by default; what is missing or too much is a TypeError."""
            if named or len(given) != len(cls._fields):
                rest = cls._fields[len(given) :]
                values = {**cls._defaults, **named}
                if len(given) > len(cls._fields) or named.keys() - set(rest) or set(rest) - values.keys():
                    raise TypeError(f"{cls.__name__}({', '.join(cls._fields)}): got {given!r} and {named!r}")
                given = (*given, *(values[name] for name in rest))
            return tuple.__new__(cls, given)

        def __getnewargs__(self) -> tuple:
            """For pickle: ranks send one another such values."""
            return tuple(self)

        def __repr__(self) -> str:
            return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._asdict().items())})"

        def _asdict(self) -> dict:
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **named: Any) -> Any:
            items = [named.pop(field, item) for field, item in zip(self._fields, self, strict=True)]
            if named:
                raise TypeError(f"{type(self).__name__} has no {', '.join(named)}")
            return type(self)(*items)  # through the constructor: a value that checks itself is checked again


__all__ = ["NamedTuple"]
