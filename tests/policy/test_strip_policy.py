"""Which checkpoints become weights-only: values in, values out."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ckptkit.model.checkpoint import Checkpoint, File, Finding, Judged, State, TrainerState, Verdict
from ckptkit.model.decision import StripPart, StripPlan
from ckptkit.model.reason import Reason, reason_words
from ckptkit.policy.strip import plan

STATES: tuple[State, ...] = ("intact", "incomplete", "corrupt", "in_progress", "unknown")


def judged(step: int, state: State = "intact", resumable: bool = True) -> Judged:
    """A checkpoint of the run's one history."""
    known = TrainerState(step, float(step), {s: {"loss": s} for s in range(10, step + 1, 10)})
    findings = () if state == "intact" else (Finding("optimizer.pt", "truncated", "ends early"),)
    verdict = Verdict(state, state == "intact" and resumable, "quick", findings, 0, known)
    name = f"checkpoint-{step}"
    return Judged(Checkpoint(f"/run/{name}", name, step, "hf-trainer", 1, step, (), (), 10, 1.0), verdict)


def made(entries: list[Judged], keep: int = 1, protected: Sequence[str] = (), only: str | None = None) -> StripPlan:
    parts = {j.checkpoint.name: StripPart((File("optimizer.pt", 7, 7, 1.0),), "mark", 7, False) for j in entries}
    return plan("/run", entries, parts, keep, dict.fromkeys(protected, Reason("pinned", "pinned")), only)


def stripped(plan: StripPlan) -> set[int]:
    return {d.checkpoint.step for d in plan.strips}


RUNS = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from(STATES), st.booleans()), unique_by=lambda entry: entry[0], max_size=9
).map(lambda entries: [judged(step * 10, state, resumable) for step, state, resumable in entries])
KEEP = st.integers(1, 5)


@given(RUNS, KEEP)
def test_the_newest_n_resumable_ones_stay_and_every_other_one_goes(entries: list[Judged], keep: int) -> None:
    can = sorted(j.checkpoint.step for j in entries if j.verdict.resumable)
    assert stripped(made(entries, keep)) == set(can[:-keep])


@given(RUNS, KEEP)
def test_each_checkpoint_has_one_decision_with_a_reason_whatever_the_order(entries: list[Judged], keep: int) -> None:
    plans = made(entries, keep), made(entries[::-1], keep)
    assert plans[0] == plans[1] and all(d.reasons for d in plans[0].decisions)
    assert sorted(d.checkpoint.step for d in plans[0].decisions) == sorted(j.checkpoint.step for j in entries)


@given(RUNS, KEEP)
def test_keeping_more_strips_no_other_one(entries: list[Judged], keep: int) -> None:
    assert stripped(made(entries, keep + 1)) <= stripped(made(entries, keep))


@given(RUNS, KEEP, st.sets(st.integers(1, 40)))
def test_what_is_protected_stays_and_changes_nothing_for_the_others(
    entries: list[Judged], keep: int, steps: set[int]
) -> None:
    protected = {step * 10 for step in steps}
    found = stripped(made(entries, keep, [f"checkpoint-{step}" for step in protected]))
    assert found == stripped(made(entries, keep)) - protected


@given(RUNS, KEEP)
def test_the_floor_is_the_newest_resumable_one_and_stays(entries: list[Judged], keep: int) -> None:
    found = made(entries, keep)
    can = [j.checkpoint.step for j in entries if j.verdict.resumable]
    assert (found.floor.checkpoint.step if found.floor else None) == max(can, default=None)


def test_of_one_that_was_named_the_others_stay() -> None:
    assert stripped(made([judged(10), judged(20), judged(30)], only="checkpoint-20")) == {20}


REFUSED = Reason("refused-pickle", "a pickle in it is refused")


def test_one_that_no_resume_takes_stays_whole_and_is_no_reason_to_strip_another() -> None:
    entries = [judged(step) for step in (100, 200, 300)]
    parts = {j.checkpoint.name: StripPart((File("optimizer.pt", 7, 7, 1.0),), "mark", 7, False) for j in entries}
    found = plan("/run", entries, parts, 1, {}, unsafe={"checkpoint-300": REFUSED})
    assert [(d.checkpoint.step, d.action, *d.codes, reason_words(d.reasons)) for d in found.decisions] == [
        (100, "strip", "newer-resumable", "newer ones can be resumed from"),
        (200, "keep", "floor", "newest intact resumable"),
        (300, "keep", "refused-pickle", "a pickle in it is refused"),
    ]
