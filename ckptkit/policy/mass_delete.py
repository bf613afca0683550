"""PURE: the guard against a mistyped policy: more than half of the intact checkpoints go only with a person's yes.

Without one, what is damaged goes, and where the volume can't take the next save, the oldest ones, just enough for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptkit import calling
from ckptkit.errors import UsageError
from ckptkit.model.checkpoint import Judged
from ckptkit.model.reason import Reason
from ckptkit.policy.keep import Best, Range, Rules
from ckptkit.policy.lineage import in_line, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptkit.model.decision import Decision, PrunePlan

WAITS = Reason("waits-for-yes", "waits for a yes")
FOR_ROOM = Reason("for-room", "the next save would not fit")


def intact_deletions(plan: PrunePlan) -> tuple[Decision, ...]:
    """The intact checkpoints that a plan deletes."""
    return tuple(d for d in plan.deletions if d.verdict.intact)


def waiting(plan: PrunePlan) -> tuple[Decision, ...]:
    """The intact checkpoints that a plan would delete, were it not for the guard."""
    return tuple(d for d in plan.decisions if WAITS.code in d.codes)


def needs_a_yes(plan: PrunePlan, rules: Rules, previous: Rules | None, gone: int = 0) -> bool:
    """Whether a plan deletes more intact checkpoints than it may unasked.

    More than `max_delete` where that is given; else more than half of a kind's if the policy is new or stricter than
    the previous one. gone: how many went already, for room, since this policy waits for its yes.
    """
    going = [kind_of(d.checkpoint) for d in intact_deletions(plan)]
    if rules.max_delete is not None:
        return len(going) > rules.max_delete
    if previous is not None and not stricter(rules, previous):
        return False
    intact = [kind_of(d.checkpoint) for d in plan.intact]
    return any(going.count(kind) + gone > (intact.count(kind) + gone) // 2 for kind in set(going))


def unasked(plan: PrunePlan, rules: Rules, missing: int) -> PrunePlan:
    """Given a plan that needs a yes, return what of it is done without one; the rest waits, and is kept.

    missing: bytes that the next save lacks when all damaged ones are gone; 0 or less: none.
    """
    names = frozenset(_for_room(plan, rules, missing))
    return plan._replace(decisions=tuple(_unasked(d, names) for d in plan.decisions))


def _unasked(decision: Decision, for_room: frozenset[str]) -> Decision:
    if decision.action != "delete" or not decision.verdict.intact:
        return decision
    if decision.checkpoint.name in for_room:
        return decision._replace(reasons=(*decision.reasons, FOR_ROOM))
    return decision._replace(action="keep", reasons=(*decision.reasons, WAITS))


def _for_room(plan: PrunePlan, rules: Rules, missing: int) -> Sequence[str]:
    """The oldest, just enough for one save and at most half of a kind; none if that would not make it fit either."""
    going = {d.checkpoint.name for d in intact_deletions(plan)}
    intact = [kind_of(d.checkpoint) for d in plan.intact]
    left = {kind: intact.count(kind) // 2 for kind in intact}
    most = len(going) if rules.max_delete is None else rules.max_delete
    names: list[str] = []
    for checkpoint, _ in in_line([Judged(d.checkpoint, d.verdict) for d in plan.intact]):
        if missing > 0 and len(names) < most and checkpoint.name in going and left[kind_of(checkpoint)] > 0:
            names.append(checkpoint.name)
            left[kind_of(checkpoint)] -= 1
            missing -= checkpoint.allocated_bytes
    return names if missing <= 0 else ()


def sentence(plan: PrunePlan, rules: Rules) -> str:
    """Given what is done without a yes, return what waits for one, why, and the command that deletes it."""
    count, room = len(waiting(plan)), len(intact_deletions(plan))
    went = f". To make room for the next save, the oldest {_many(room)} deleted" if room else ""
    message = f"{plan.run}: {count} of {len(plan.intact)} intact checkpoints wait for your yes: {_why(rules)}{went}"
    return f"{message}; fix: {command(plan.run, rules, count)}"


def foretold(whole: PrunePlan, limited: PrunePlan, rules: Rules) -> str:
    """Given a plan that was not executed, and what of it is done without a yes, return what its execution will ask.

    The command does all of it: nothing is deleted yet.
    """
    count = len(intact_deletions(whole))
    message = f"{whole.run}: deleting {count} of {len(whole.intact)} intact checkpoints needs your yes: {_why(rules)}"
    return f"{message}. Without it, {_goes(limited)}; fix: {command(whole.run, rules, count)}"


def _goes(limited: PrunePlan) -> str:
    room, damaged = len(intact_deletions(limited)), any(not d.verdict.intact for d in limited.deletions)
    oldest = f"the oldest {room if room > 1 else 'one'}"
    if room:
        return f"only {'what is damaged and ' if damaged else ''}{oldest} will go, to make room for the next save"
    return "only what is damaged will go" if damaged else "nothing will go"


def _why(rules: Rules) -> str:
    if rules.max_delete is not None:
        return f"that is more than --max-delete {rules.max_delete}"
    return "the rules are new or stricter than before, and more than half would go"


def _many(count: int) -> str:
    return "one was" if count == 1 else f"{count} were"


def command(run: str, rules: Rules, count: int) -> str:
    """What to type so that a run is pruned by these rules, `count` intact checkpoints included."""
    return calling.command("prune", run, *flags(rules), "--max-delete", str(count))


def flags(rules: Rules) -> list[str]:
    """The keep rules as one types them."""
    words: list[str] = []
    words += ["--keep-last", str(rules.keep_last)] if rules.keep_last else []
    words += ["--keep-best", str(rules.keep_best)] if rules.keep_best else []
    words += ["--keep-every", str(rules.keep_every)] if rules.keep_every else []
    words += ["--keep-within", f"{rules.keep_within:.6f}".rstrip("0").rstrip(".") + "s"] if rules.keep_within else []
    words += ["--free-target", f"{rules.free_target}B"] if rules.free_target else []
    return words


def is_agreed(rules: Rules, agreed: Sequence[object]) -> bool:
    """Whether one of the policies that were agreed to, as they came back from JSON, is at least as strict."""
    known = (from_json(policy) for policy in agreed)
    return any(policy is not None and not stricter(rules, policy) for policy in known)


def stricter(rules: Rules, previous: Rules) -> bool:
    """Whether `rules` may release a checkpoint that `previous` kept."""
    if rules.empty:
        return False
    if previous.empty:
        return True
    fewer_last = previous.keep_last and (not rules.keep_last or rules.keep_last < previous.keep_last)
    fewer_within = previous.keep_within and (not rules.keep_within or rules.keep_within < previous.keep_within)
    sparser = previous.keep_every and (not rules.keep_every or previous.keep_every % rules.keep_every)
    fewer_best = previous.keep_best and (
        not rules.keep_best
        or rules.keep_best[:2] != previous.keep_best[:2]
        or rules.keep_best.keep < previous.keep_best.keep
    )
    more_free = rules.free_target and rules.free_target > (previous.free_target or 0)
    return any((fewer_last, fewer_within, sparser, fewer_best, more_free and rules.keep_last))


def from_json(value: Any) -> Rules | None:
    """Given rules as they came back from JSON (nested lists), return them, or None if they are not rules."""
    try:
        last, best, every, within, target, limit = value
        return Rules(last and Range(*last), best and Best(*best), every, within, target, limit)
    except (TypeError, ValueError, UsageError):
        return None
