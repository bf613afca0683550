"""PURE: how many intact checkpoints a plan may delete unasked, so that a mistyped policy costs none."""

from __future__ import annotations

from ckptkit.errors import UsageError
from ckptkit.model import Plan
from ckptkit.policy import Best, Range, Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def delete_limit(made: Plan, rules: Rules, previous: Rules | None) -> int | None:
    """The most intact checkpoints that this plan may delete unasked; None: no limit.

    `--max-delete` where given; else half of the intact ones if the policy is new or stricter than last time.
    """
    if rules.max_delete is not None:
        return rules.max_delete
    return len(made.intact) // 2 if previous is None or stricter(rules, previous) else None


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
