"""Our NamedTuple is typing's, but for the time that its classes take to make."""

import pickle
import typing

import pytest

from ckptkit.model import Finding, Outcome, Verdict, Volume
from ckptkit.tuples import NamedTuple


class Ours(NamedTuple):
    a: int
    b: str = "x"
    c: tuple = ()

    @property
    def twice(self):
        return self.a * 2


class Theirs(typing.NamedTuple):
    a: int
    b: str = "x"
    c: tuple = ()


GIVEN = [((1,), {}), ((1, "y"), {}), ((1,), {"c": (2,)}), ((), {"a": 3}), ((1, "y", (3,)), {})]
WRONG = [((), {}), ((1, 2, 3, 4), {}), ((1,), {"a": 2}), ((1,), {"d": 2}), ((), {"b": "y"})]


@pytest.mark.parametrize("args, named", GIVEN)
def test_same_items_as_typings(args, named):
    ours, theirs = Ours(*args, **named), Theirs(*args, **named)
    assert tuple(ours) == tuple(theirs) and ours == theirs and hash(ours) == hash(theirs)
    assert (ours.a, ours.b, ours.c) == (theirs.a, theirs.b, theirs.c)
    assert ours._asdict() == theirs._asdict() and ours._fields == theirs._fields
    assert repr(ours).removeprefix("Ours") == repr(theirs).removeprefix("Theirs")
    assert ours._replace(a=9) == theirs._replace(a=9)


@pytest.mark.parametrize("args, named", WRONG)
def test_same_refusals_as_typings(args, named):
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*args, **named)


def test_items_cant_be_set_and_methods_stay():
    with pytest.raises(AttributeError):
        Ours(1).a = 2
    assert Ours(2).twice == 4


def test_pickled_and_back_it_is_the_same():
    for value in (Ours(1), Finding("f", "c", "m"), Outcome(), Verdict("intact", True, "quick")):
        again = pickle.loads(pickle.dumps(value))
        assert again == value and type(again) is type(value)


def test_a_field_without_default_stays_needed():
    with pytest.raises(TypeError, match="Volume"):
        Volume("/")
