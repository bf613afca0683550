"""What hypothesis draws for the properties of plans, and the count of the examples that really ran."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ckptkit.errors import UsageError
from ckptkit.model.checkpoint import Judged, Leftover
from ckptkit.model.decision import PrunePlan
from ckptkit.policy.keep import Best, Range, Rules
from tests.faults.conftest import Tally
from tests.policy.test_policy import NOW, PINNED, SIZE, judged, made, steps

EXHAUSTIVE = os.environ.get("CKPTKIT_EXHAUSTIVE") == "1"
MUTANT = bool(os.environ.get("CKPTKIT_MUTANT"))  # broken on purpose: it ends at the first example that shows it
EXAMPLES = 20_000 if EXHAUSTIVE or MUTANT else 100
REAL_EXAMPLES = 1_000 if EXHAUSTIVE else 20
# Finding is enough where the product is broken on purpose; to a person a small example is told.
PHASES = (Phase.generate,) if MUTANT else (Phase.generate, Phase.shrink)
LEFT = (Leftover("/run/.ckptkit-deleting-checkpoint-5", ".ckptkit-deleting-checkpoint-5", SIZE),)


def hold(tally: Tally, what: str, check: Callable[..., None], *strategies: Any, examples: int = EXAMPLES) -> None:
    """Check it on each example drawn, and count those that really ran."""
    ran = 0

    @settings(max_examples=examples, deadline=None, database=None, phases=PHASES)
    @given(st.tuples(*strategies))
    def each(drawn: tuple[Any, ...]) -> None:
        nonlocal ran
        ran += 1
        check(*drawn)

    try:
        each()
    finally:
        tally.ran(what, ran)


def plan_of(
    entries: list[Judged], rules: Rules, protected: dict[Any, Any] | None = None, available: int = 0
) -> PrunePlan | None:
    """The plan, or None where a rule can't apply: then nothing is deleted either."""
    try:
        return made(entries, rules, protected, available, LEFT)
    except UsageError:
        return None


def deleted(plan: PrunePlan | None) -> set[int]:
    return set(steps(plan, "delete")) if plan else set()


# --- what is drawn --------------------------------------------------------------------------------------------------

STEPS = st.integers(1, 30).map(lambda n: n * 10)
VALUES = (None, None, 0.5, 1.0, 2.0, 3.0, float("nan"))
METRICS = st.builds(
    lambda loss, accuracy: {k: v for k, v in (("loss", loss), ("eval_acc", accuracy)) if v is not None},
    st.sampled_from(VALUES), st.sampled_from(VALUES),
)  # fmt: skip


JUMPS = (0, 0, 100, -100, 500, -500, 900, -900)


def entry(
    step: Any,
    drawn: Any,
    logged: tuple[int, ...] = (1, 1, 1, 1, 0),
    signs: tuple[int, ...] = (1, 1, 1, -1),
    jumps: tuple[int, ...] = JUMPS,
) -> Judged:
    """A checkpoint of a live run or of an earlier one: its state, log, clock, metrics, all out of one drawn number."""

    def one_of(*choices: Any) -> Any:
        nonlocal drawn
        drawn, chosen = divmod(drawn, len(choices))
        return choices[chosen]

    state = one_of("intact", "intact", "intact", "incomplete", "corrupt", "in_progress", "unknown")
    sign = one_of(*signs)
    orderly = NOW + step - (0 if sign > 0 or len(jumps) > 1 else 9000)  # the earlier run was over before the live began
    return judged(
        step, state, resumable=one_of(True, True, False), optimizer=one_of(True, False),
        history=tuple((s, sign * s) for s in range(10, step + 1, 10)) if one_of(*logged) else (),
        saved_at=orderly + one_of(*jumps), best=one_of(None, None, *BEST_NAMES),
        metrics={k: v for k in ("loss", "eval_acc") if (v := one_of(*VALUES)) is not None},
        refused=one_of(False, False, False, True), in_order=one_of(False, True),
        nonfinite=one_of(None, (), (), ("w",)),
    )  # fmt: skip


BEST_NAMES = [f"checkpoint-{step}" for step in range(10, 130, 10)]
DRAWN = st.lists(st.tuples(STEPS, st.integers(0, 2**50)), max_size=10, unique_by=lambda pair: pair[0])
ENTRIES = DRAWN.map(lambda pairs: [entry(*pair) for pair in pairs])
# Of trainings that logged losses: one whose clock jumped, or two on a clock that did not, the later one behind still.
JUMPED = DRAWN.map(lambda pairs: [entry(*pair, logged=(1,), signs=(1,)) for pair in pairs])
REUSED = DRAWN.map(lambda pairs: [entry(*p, logged=(1,), signs=(1 if p[0] <= 150 else -1,), jumps=(0,)) for p in pairs])
TOLD_APART = JUMPED | REUSED
RANGES = st.tuples(st.integers(1, 6), st.integers(0, 4)).map(lambda pair: Range(pair[0], sum(pair)))
BESTS = st.builds(Best, st.sampled_from(["loss", "acc"]), st.sampled_from(["min", "max"]), st.integers(1, 3))
COUNTED = st.builds(  # by a function: some versions of hypothesis would draw the other rules too, -1 among them
    lambda last, best, every: Rules(last, best, every),
    st.none() | RANGES, st.none() | BESTS, st.none() | st.integers(1, 300),
)  # fmt: skip
UNTARGETED = st.builds(
    lambda rules, within: rules._replace(keep_within=within), COUNTED, st.none() | st.floats(0.1, 2000)
)
RULES = st.builds(
    lambda rules, target: rules._replace(free_target=target), UNTARGETED, st.none() | st.integers(1, 12 * SIZE)
)
AVAILABLE = st.integers(0, 6 * SIZE)
PROTECTED = st.sets(STEPS, max_size=4).map(lambda them: {f"checkpoint-{s}": PINNED for s in them})
