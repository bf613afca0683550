"""Reasons: a code that code of ours decides by, a sentence that people read. No decision hangs on the sentence."""

import ast
import os
import re
from collections.abc import Callable, Iterator
from itertools import count, product
from pathlib import Path
from typing import Any, get_args

import pytest

import ckptkit
from ckptkit.guard.room import Room
from ckptkit.guard.settings import GuardSettings
from ckptkit.model.checkpoint import File, Judged
from ckptkit.model.decision import Decision, Outcome, PrunePlan, StripPart, Writer
from ckptkit.model.reason import Reason, ReasonCode, code_of, codes_of, reason_words
from ckptkit.ops import read
from ckptkit.policy import keep, mass_delete, strip
from ckptkit.policy.rules import Best, Range, Rules
from ckptkit.render import recover, text
from tests.policy.test_policy import NOW, SIZE, judged

PACKAGE = Path(ckptkit.__file__).parent
CODES = get_args(ReasonCode)
FILES = sorted(PACKAGE.rglob("*.py"))


# --- the codes ------------------------------------------------------------------------------------------------------


def test_each_code_is_unique_and_kebab_case_and_one_is_empty_for_what_older_versions_wrote() -> None:
    assert len(set(CODES)) == len(CODES) and CODES[0] == ""
    assert [code for code in CODES[1:] if not re.fullmatch("[a-z]+(-[a-z]+)*", code)] == []


def made_in(tree: ast.Module) -> Iterator[Any]:
    """The codes of all reasons that a file makes, as far as they are written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason":
            yield from (c.value for c in ast.walk(node.args[0]) if isinstance(c, ast.Constant))


def test_each_code_is_given_by_some_rule_and_no_rule_gives_another() -> None:
    given = {code for file in FILES for code in made_in(ast.parse(file.read_text()))}
    states = {code_of(state) for state in ("incomplete", "corrupt", "in_progress", "unknown")}
    assert given | states == set(CODES)


def test_reasons_read_as_one_line_each_with_what_to_type() -> None:
    reasons = (Reason("pinned", "pinned", "ckptkit unpin X"), Reason("keep-last", "keep-last 2"))
    assert reason_words(reasons) == "pinned; fix: ckptkit unpin X; keep-last 2"
    assert codes_of(reasons) == {"pinned", "keep-last"} and reason_words(()) == ""


# --- no decision hangs on a sentence --------------------------------------------------------------------------------


ASKED = ("startswith", "endswith", "removeprefix", "partition", "rpartition", "find", "index", "split")
SENTENCES = ("message", "reason", "reasons", "why")


def is_a_sentence(node: ast.expr) -> bool:
    """A field that holds what a person reads; what is inside a call is looked at by itself."""
    return isinstance(node, ast.Attribute) and node.attr in SENTENCES


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_sentence_is_compared_or_taken_apart(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Compare):
            assert not any(map(is_a_sentence, (node.left, *node.comparators))), f"{file}:{node.lineno}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKED:
            assert not is_a_sentence(node.func.value), f"{file}:{node.lineno}"


PINNED = Reason("pinned", "pinned")
WRITER = Writer(4711, "python (pid 4711)", True)
RULES = {
    "no rule": Rules(None),
    "keep-last": Rules(2),
    "a range with a free target": Rules(Range(1, 4), free_target=6 * SIZE),
    "a range and keep-every": Rules(Range(1, 4), keep_every=200, free_target=9 * SIZE),
    "all of them": Rules(Range(2, 3), Best("loss", "min", 1), 300, 250.0, 7 * SIZE),
}
RUNS = {
    "six": [judged(s, metrics={"loss": s % 70}) for s in range(100, 700, 100)],
    "damaged ones among them": [
        judged(100, "corrupt"), judged(200), judged(300, "unknown"), judged(400, resumable=False), judged(500),
        judged(600, best="checkpoint-200"), judged(700, "in_progress"), judged(800, "incomplete"),
    ],
    "an earlier run, a refused one and one that diverged": [
        judged(100, nonfinite=()), judged(200, nonfinite=("w",)), judged(300, refused=True, nonfinite=()), judged(400),
        judged(3000, saved_at=NOW - 5000, history=tuple((s, -s) for s in range(10, 3001, 10))),
    ],
    "nothing intact": [judged(100, "corrupt"), judged(200, "incomplete")],
}  # fmt: skip
FIELDS = tuple(product(RUNS, RULES, (0, 3 * SIZE), (False, True)))


def stages(entries: list[Judged], rules: Rules, need: int, pins: bool) -> Any:
    """What each stage decides, without a word of why: the plan, what goes without a yes, what is stripped."""
    protected = {"checkpoint-200": Reason("pinned", "pinned")} if pins else {}
    try:
        whole = keep.plan("/run", entries, rules, protected, SIZE, writer=WRITER, now=NOW + 900, need_bytes=need)
    except ckptkit.UsageError:
        return "refused"
    limited = mass_delete.unasked(whole, rules, SIZE)
    parts = {j.checkpoint.name: StripPart((File("optimizer.pt", 7, 7, 1.0),), "mark", 7, False) for j in entries}
    stripped = strip.plan("/run", entries, parts, 1, protected)
    pages = [recover.freed(limited, done, "").split("\n")[0] for done in (None, Outcome())]
    return (
        [[(d.checkpoint.step, d.action, d.codes) for d in plan.decisions] for plan in (whole, limited, stripped)],
        [d.checkpoint.step for d in mass_delete.waiting(limited)],
        [d.checkpoint.step for d in text.in_the_way(whole)],
        [d.checkpoint.step for d in stripped.floors],
        pages,
    )


@pytest.fixture
def other_words(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Every reason is made with a sentence that no other has, and that says nothing."""
    number, new = count(), Reason.__new__

    def scrambled(cls: Any, code: Any, message: str = "", command: str = "") -> Any:
        return new(cls, code, f"sentence {next(number)}", command)

    def scramble() -> None:
        monkeypatch.setattr(Reason, "__new__", scrambled)
        for module, name in product((keep, mass_delete, strip, read), dir(keep) + dir(mass_delete) + dir(strip)):
            if isinstance(value := getattr(module, name, None), Reason):
                monkeypatch.setattr(module, name, Reason(value.code))  # type: ignore[call-arg]

    return scramble


def test_all_sentences_replaced_by_others_leave_each_decision_as_it_is(other_words: Callable[[], None]) -> None:
    decide = {field: stages(RUNS[field[0]], RULES[field[1]], *field[2:]) for field in FIELDS}
    other_words()
    again = {field: stages(RUNS[field[0]], RULES[field[1]], *field[2:]) for field in FIELDS}
    assert again == decide
    plan = keep.plan("/run", RUNS["six"], RULES["keep-last"], {})
    assert all(reason.message.startswith("sentence ") for d in plan.decisions for reason in d.reasons)


def test_what_each_stage_decides_is_among_what_was_compared() -> None:
    """The comparison above is about every code that decides: else it would show nothing."""
    seen = set()
    for field in FIELDS:
        if (found := stages(RUNS[field[0]], RULES[field[1]], *field[2:])) != "refused":
            seen |= {code for plan in found[0] for _, _, codes in plan for code in codes}
    assert seen >= {"keep-last", "overridden-for-save", "waits-for-yes", "for-room", "floor", "pinned", "earlier-run"}


@pytest.mark.parametrize(
    ("codes", "waits"),
    [(("durable",), True), (("resumed-from",), True), (("durable", "keep-last"), False), (("keep-last",), False)],
)
def test_the_guard_waits_for_what_only_a_restart_needs_by_its_code(
    tmp_path: Path, codes: tuple[str, ...], waits: bool
) -> None:
    room = Room(os.fspath(tmp_path), GuardSettings(Rules(2), 2, True, "skip", 0.0))
    decision = Decision(*judged(100), "keep", tuple(Reason(code, "in other words") for code in codes))  # type: ignore[arg-type]
    assert room._kept_until_secured(PrunePlan("/run", (decision,))) is waits
