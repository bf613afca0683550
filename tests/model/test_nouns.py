"""Values that rooms hand to one another: frozen, with a signature that help() shows, the same after a pickle."""

import importlib
import inspect
import pickle
import pkgutil
from typing import Any

import pytest

import ckptkit
from ckptkit.model.checkpoint import Finding, Verdict
from ckptkit.model.decision import Outcome
from ckptkit.model.disk import Volume
from ckptkit.policy.rules import Best, Range, Rules


def values() -> list[type[tuple[Any, ...]]]:
    """Each class of a tuple with names in the package, but for what needs torch to load."""
    found = set()
    for module in pkgutil.walk_packages(ckptkit.__path__, "ckptkit."):
        if ".guard." in module.name or module.name.endswith("__main__"):
            continue
        members = vars(importlib.import_module(module.name)).values()
        found |= {m for m in members if inspect.isclass(m) and issubclass(m, tuple) and hasattr(m, "_fields")}
    return sorted((m for m in found if m.__module__.startswith("ckptkit.")), key=lambda m: (m.__module__, m.__name__))


@pytest.mark.parametrize("kind", values(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_value_shows_its_fields_and_none_of_them_can_be_set(kind: Any) -> None:
    assert list(inspect.signature(kind).parameters) == list(kind._fields)
    one = tuple.__new__(kind, range(len(kind._fields)))
    for name in (*kind._fields, "another"):
        with pytest.raises(AttributeError):
            setattr(one, name, 0)


VALUES = [
    Finding("f", "c", "m"),
    Outcome(),
    Verdict("intact", True, "quick"),
    Rules(Range(2, 5), Best("loss", "min", 2)),
]


@pytest.mark.parametrize("value", VALUES)
def test_pickled_and_back_it_is_the_same(value: tuple[Any, ...]) -> None:
    again = pickle.loads(pickle.dumps(value))
    assert again == value and type(again) is type(value)


def test_a_field_without_default_stays_needed() -> None:
    with pytest.raises(TypeError, match="Volume"):
        Volume("/")  # type: ignore[call-arg]
