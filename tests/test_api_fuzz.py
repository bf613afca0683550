"""Every public function and flag with wrong types and values: it works as documented or says which argument is wrong.

Nothing intact is deleted but by a valid call, and a call that fails changes nothing on the disk.
"""

import json
import math
import os
import pickle
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import ckptkit as kit
from ckptkit.cli import main
from ckptkit.cli.verbs import VERBS
from ckptkit.policy.mass_delete import from_json
from ckptkit.policy.rules import Best, Range
from tests.faults.trials import SEED
from tests.support.runs import make_run, set_age, tree

STATES = {100: "intact", 200: "intact", 300: "intact", 400: "torn", 500: "young"}
NEWEST_INTACT, IN_PROGRESS = "checkpoint-300", "checkpoint-500"
MOST, LARGEST = 999_999_999, float(1 << 100)


class Stage:
    """One real run that is as it was before each call, and what lies about it."""

    def __init__(self, real: str, top: Path) -> None:
        self.top, self.run, self.copy = top, str(top / "run"), str(top / "copy")
        make_run(real, self.copy, STATES)
        self.file, self.link, self.dangling = top / "file", top / "link", top / "dangling"
        self.file.write_text("a person's")
        self.link.symlink_to(self.run)
        self.dangling.symlink_to(top / "gone")
        self.restore()

    def restore(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(self.copy, self.run, symlinks=True)

    def look(self) -> dict[str, tuple[int, int]]:
        """The save in progress is always a second old; what else stands is as it was. Returns what stands."""
        set_age(f"{self.run}/{IN_PROGRESS}", time.time(), 1)
        return tree(self.top)

    def places(self) -> list[object]:
        home = os.path.expanduser("~")
        return [
            "/",
            home,
            str(self.file),
            self.link,
            str(self.dangling),
            self.top / "nowhere",
            Path("."),
            "checkpoint-1",
        ]

    def values(self) -> list[Any]:
        """Wrong types and values, and right ones of each kind; places too."""
        numbers = [math.nan, math.inf, -math.inf, -1, 0, 1, 2, 1.5, -0.0, 10**30, 10**400, 2**63, MOST + 1]
        texts = [
            "",
            " ",
            "\0",
            "x",
            "no",
            "2..5",
            "5..2",
            "2d",
            "20",
            "20G",
            "120%",
            "full",
            "\ud800",
            "\x1b[31m",
            "a\nb",
        ]
        others = [b"x", [], [1], {}, {1: 2}, {"save_steps": "x"}, (), (2, 5), object(), int, lambda *a: None, set(), 1j]
        return [None, True, False, *numbers, *texts, *others, Range(2, 5), kit.Rules(2), *self.places()]


# --- what each argument may be: told independently of the code ------------------------------------------------------


def is_int(value: object, least: int = 1, most: float = MOST) -> bool:
    return type(value) is int and least <= value <= most


def is_seconds(value: Any, zero: bool = True) -> bool:
    return type(value) in (int, float) and 0 <= value <= LARGEST and (zero or value > 0)


def is_text(value: object) -> bool:
    return type(value) is str and bool(value.strip()) and value not in ("\0", "\ud800")


def is_path(value: Any) -> bool:
    return isinstance(value, Path) or (type(value) is str and value not in ("", "\0", "\ud800"))


def is_switch(value: Any) -> bool:
    return value is True or value is False


def no(value: Any) -> bool:
    return value is None


T = TypeVar("T")
MAY: dict[str, Callable[[Any], object]] = {
    "keep_last": lambda v: no(v) or is_int(v) or v in ("2..5", "20") or isinstance(v, Range),
    "keep_best": lambda v: no(v) or (is_text(v) and not set(v) & {":", "="}),
    "keep_every": lambda v: no(v) or is_int(v),
    "keep_within": lambda v: no(v) or is_seconds(v, zero=False) or v == "2d",
    "free_target": lambda v: no(v) or is_int(v, most=LARGEST) or v == "20G",
    "max_delete": lambda v: no(v) or is_int(v, least=0),
    "min_age_seconds": is_seconds, "lock_timeout": lambda v: is_seconds(v) and v < 3,
    "dry_run": is_switch, "yes": is_switch, "probe": is_switch, "weights_only_ok": is_switch,
    "rules": lambda v: no(v) or isinstance(v, kit.Rules),
    "now": lambda v: no(v) or (type(v) in (int, float) and abs(v) <= LARGEST),
    "level": lambda v: v == "full",
    "keep_resumable": lambda v: no(v) or is_int(v),
    "depth": lambda v: is_int(v, least=0), "top": is_int,
    "settings": lambda v: no(v) or v == {},
    "origin": is_text,
    "tell": lambda v: no(v) or callable(v), "alerted": lambda v: no(v) or callable(v), "outlook": lambda v: no(v),
    "every": lambda v: v == "2d" or is_seconds(v, zero=False),
    "command": lambda v: no(v) or is_text(v), "webhook": no, "ping": no, "prom": lambda v: no(v) or is_path(v),
    "apprise": lambda v: v in ((), []),
    "allow_nonfinite": is_switch, "skip_unknown": is_switch, "trust": lambda v: no(v) or v in ((), []),
    "script": lambda v: no(v) or is_path(v),
    "path": is_path, "paths": lambda v: is_path(v) or v == [],
}  # fmt: skip
RULES = ("rules", "keep_last", "keep_best", "keep_every", "keep_within", "free_target", "max_delete")
ACTING = ("dry_run", "yes", "lock_timeout")
TAKES = {
    "scan": ("path",),
    "verify": ("path", "level", "now", "trust"),
    "latest": ("path", "weights_only_ok", "allow_nonfinite", "level", "now", "trust"),
    "plan": ("path", *RULES, "min_age_seconds", "now", "trust"),
    "prune": ("path", *RULES, "min_age_seconds", *ACTING, "trust"),
    "strip": ("path", "keep_resumable", "min_age_seconds", *ACTING, "trust"),
    "report": ("paths", "depth", "top", "now"),
    "preflight": ("path", "rules", "probe", "settings", "origin", "script", "skip_unknown", "now", "trust"),
    "recover": ("path", "rules", *ACTING, "allow_nonfinite", "skip_unknown", "trust", "tell"),
    "monitor": ("path", "every", "command", "webhook", "apprise", "prom", "ping", "alerted", "outlook"),
}
# Right, and of no use here: they wait for an hour, walk the machine's whole disk, write a named file, or run one.
LEFT_OUT: dict[str, Callable[[Any], object]] = {
    "lock_timeout": lambda v: is_seconds(v) and v > 3,
    "path": lambda v: v in ("/", os.path.expanduser("~")), "paths": lambda v: v in ("/", os.path.expanduser("~")),
    "depth": lambda v: is_int(v), "prom": is_path, "command": is_text, "tell": lambda v: v is int,
    "alerted": lambda v: v is int, "outlook": callable,
}  # fmt: skip


def call(stage: Stage, function: str, given: dict[str, object]) -> None:
    """Make one call, and hold what must be true of it whatever it was given."""
    before, error = stage.look(), None
    first = TAKES[function][0]
    arguments = {first: stage.run, **given}
    try:
        made = getattr(kit, function)(**arguments)
        if function == "monitor":
            made.stop()
    except (kit.CkptkitError, TypeError) as raised:
        error = raised
    after = stage.look()
    _nothing_dear_is_gone(stage, before, after, given)
    wrong = [name for name, value in given.items() if not MAY[name](value)]
    what = ascii(f"{function}({given!r}): {error!r}")  # workers can send no half of a surrogate pair
    if wrong:
        assert isinstance(error, kit.UsageError) and "\n" not in str(error), what
        assert any(name in str(error) for name in (*wrong, "save_steps")), what
    if error is not None:
        gone = {path for path in before if path not in after}
        done = error.pruned.outcome if isinstance(error, kit.MassDelete) and error.pruned else None
        assert all(path.startswith(done.deleted if done else ()) for path in gone), what
        assert not wrong or _same(before, after), what
    if not _same(before, after):
        assert function in ("prune", "strip", "recover") and given.get("dry_run") is not True, what
        stage.restore()


def _nothing_dear_is_gone(
    stage: Stage, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], given: dict[str, object]
) -> None:
    kept = [NEWEST_INTACT] + ([] if "min_age_seconds" in given else [IN_PROGRESS])
    for name in kept:
        held = {path for path in before if path.startswith(f"{stage.run}/{name}")}
        assert held <= after.keys(), f"{name} lost something to {given!r}"
    outside = {path: at for path, at in before.items() if not path.startswith(stage.run)}
    assert outside == {path: at for path, at in after.items() if not path.startswith(stage.run)}, given


def _same(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> bool:
    """But for the times of the save in progress, which `look` sets."""
    young = f"/{IN_PROGRESS}"
    return {p: at for p, at in before.items() if young not in p} == {p: at for p, at in after.items() if young not in p}


@pytest.fixture
def stage(real: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.chdir(tmp_path)
    return Stage(real, tmp_path)


def calls(stage: Stage, function: str) -> Iterator[tuple[str, object]]:
    """(argument, value) for each argument in turn."""
    for name in TAKES[function]:
        for value in stage.values():
            if not (name in LEFT_OUT and _holds(LEFT_OUT[name], value)):
                yield name, value


def _holds(question: Callable[[Any], object], value: object) -> bool:
    try:
        return bool(question(value))
    except TypeError:
        return False


@pytest.mark.parametrize("function", TAKES)
def test_each_argument_in_turn_works_or_is_refused_by_name(stage: Stage, function: str) -> None:
    seen: dict[str, Any] = {}
    for name, value in calls(stage, function):
        if MAY[name](value) and function in ("report", "preflight", "recover", "monitor"):
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 3:  # these look at the whole machine: a few valid calls are enough
                continue
        call(stage, function, {name: value})


@pytest.mark.parametrize("function", ["plan", "prune", "strip", "latest"])
def test_pairs_of_arguments_work_or_are_refused_by_name(stage: Stage, function: str) -> None:
    rng = random.Random(SEED)
    singles = list(calls(stage, function))
    for _ in range(250):
        (one, first), (other, second) = rng.sample(singles, 2)
        call(stage, function, {one: first, other: second})


def test_values_are_made_whole_or_not_at_all(stage: Stage) -> None:
    some = stage.values()
    for one in some:
        for other in some:
            made = _made(Range, one, other)
            assert (made is not None) == (is_int(one) and is_int(other) and one <= other), ascii((one, other))
            assert made is None or (made.low, made.high) == (one, other)
        assert (_made(Best, one, "min", 1) is not None) == is_text(one), ascii(one)
        assert (_made(Best, "loss", one, 1) is not None) == (one in ("min", "max")), ascii(one)
        assert (_made(Best, "loss", "min", one) is not None) == is_int(one), ascii(one)
        for name in kit.Rules._fields:
            assert (_made(kit.Rules, **{name: one}) is not None) == MAY[name](one), ascii((name, one))
            if MAY[name](one):
                again = pickle.loads(pickle.dumps(kit.Rules(**{name: one})))
                assert (
                    again == kit.Rules()._replace(**{name: one}) and from_json(json.loads(json.dumps(again))) == again
                )


def _made(kind: Callable[..., T], *arguments: object, **named: Any) -> T | None:
    try:
        return kind(*arguments, **named)
    except kit.UsageError as raised:
        refused = str(raised)
    assert "=" in refused and "\n" not in refused
    return None


def test_unknown_keyword_is_a_type_error_and_changes_nothing(stage: Stage) -> None:
    before = stage.look()
    for function in TAKES:
        for name in ("quiet", "protected", "announce", "keep", "path_", "force"):
            with pytest.raises(TypeError, match=name):
                getattr(kit, function)(stage.run, **{name: True})
    assert _same(before, stage.look())


# --- the shell ------------------------------------------------------------------------------------------------------

NONSENSE = ("", " ", "x", "-1", "0", "nan", "inf", "1e3", "1_0", "٣", "2..", "..2", "5..2", "20", "120%", "0%", "-5s",
            "9" * 30, "\x1b[31m", "a\nb", "=", ":min", "None", "true", "[2]", "*", "/", "../..")  # fmt: skip
RULE_FLAGS = (
    "--keep-last",
    "--keep-best",
    "--keep-every",
    "--keep-within",
    "--free-target",
    "--max-delete",
    "--config",
)
FLAGS = {
    "prune": (*RULE_FLAGS, "--lock-timeout"),
    "strip": ("--keep-resumable", "--lock-timeout", "--config"),
    "verify": ("--level", "--sample", "--max-duration", "--max-rate"),
    "latest": ("--level",),
    "preflight": (*RULE_FLAGS, "--script"),
    "recover": (*RULE_FLAGS, "--lock-timeout"),
}
RIGHT = {"--keep-last": {"20"}, "--keep-every": {"20"}, "--max-delete": {"0", "20"}, "--keep-resumable": {"20"},
         "--lock-timeout": {"0", "20", "1e3", "1_0", "٣", " "}, "--max-rate": {"20"}}  # fmt: skip
METRICS = {"x", "-1", "0", "nan", "inf", "1e3", "1_0", "٣", "2..", "..2", "5..2", "20", "120%", "0%", "-5s", "9" * 30,
           "\x1b[31m", "a\nb", "None", "true", "[2]", "*", "/", "../.."}  # fmt: skip


def typed(*words: str) -> str | int | None:
    """The exit code of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


@pytest.mark.parametrize("verb", FLAGS)
def test_nonsense_in_a_flag_exits_2_in_one_line_and_changes_nothing(
    stage: Stage, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in FLAGS[verb]:
        right = METRICS if flag == "--keep-best" else RIGHT.get(flag, set())
        for value in NONSENSE:
            before = stage.look()
            code = typed(verb, stage.run, f"{flag}={value}")
            said = capsys.readouterr().err
            what = f"{verb} {flag}={value!r}: exit {code}, {said!r}"
            assert "Traceback" not in said and "\x1b" not in said and code != 1, what
            _nothing_dear_is_gone(stage, before, after := stage.look(), {})
            if value not in right:
                assert code == 2 and said.count("\n") == 1 and flag.strip("-") in said.replace("_", "-"), what
                assert _same(before, after), what
            if not _same(before, after):
                stage.restore()


@pytest.mark.parametrize("verb", ["prune", "strip", "recover", "preflight"])
def test_nonsense_in_the_environment_exits_2_and_changes_nothing(
    stage: Stage, verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = () if verb == "strip" else ("KEEP_LAST", "KEEP_EVERY", "KEEP_WITHIN", "FREE_TARGET", "TRUST")
    for name in (*rules, "KEEP_RESUMABLE", "KEEP_LATS"):
        for value in ("", "x", "-1", "nan", "2..", "*"):
            before = stage.look()
            monkeypatch.setenv(f"CKPTKIT_{name}", value)
            assert typed(verb, stage.run) == 2
            assert f"CKPTKIT_{name}" in capsys.readouterr().err and _same(before, stage.look())
        monkeypatch.delenv(f"CKPTKIT_{name}")


@pytest.mark.slow
def test_unreadable_words_end_every_verb_without_a_traceback(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before = stage.look()
    for verb in VERBS:
        for words in ((), ("--bogus",), ("",), ("x", "--json", "--bogus"), (stage.run, "--keep-last"), ("\udcff",)):
            code = typed(verb, *words, *(("--once",) if verb == "monitor" else ()))
            said = capsys.readouterr()
            assert "Traceback" not in said.out + said.err and code != 1, (verb, words, said)
            assert _same(before, stage.look()), (verb, words)
