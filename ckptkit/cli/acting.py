"""What the verbs that remove something say and do alike: path by path, and what came of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ckptkit.errors import CkptkitError, DiskError, MassDelete
from ckptkit.model.decision import PrunePlan
from ckptkit.model.reason import reason_words
from ckptkit.ops.prune import is_news
from ckptkit.ops.read import unread
from ckptkit.render import text

if TYPE_CHECKING:
    from argparse import Namespace

    from ckptkit.cli.output import Output
    from ckptkit.model.decision import Decision, Outcome, Strip
    from ckptkit.ops.prune import Pruned
    from ckptkit.render.json import Document


def each(paths: Iterable[str], act: Callable[[str], tuple[int, Document]], output: Output) -> int:
    """Act on each path; one that fails does not keep the others from it. Returns the first exit code that is not 0.

    act: returns the exit code, and the document of that path.
    """
    codes: list[int] = []
    documents: list[Document] = []
    for path in paths:
        try:
            code, document = act(path)
        except (CkptkitError, OSError) as fault:
            error = fault if isinstance(fault, CkptkitError) else DiskError(fault)
            output.refusal(error)
            code = error.exit_code
            document = {"run": path, "error": {"message": str(error), "exit_code": code}}
        codes.append(code)
        documents.append(document)
    output.document({"runs": documents})
    return next(filter(None, codes), 0)


def say_unread(decisions: Iterable[Decision | Strip], output: Output) -> int:
    """Say of each checkpoint that was left alone because it could not be read; exit code 3 if there is one, else 0."""
    left_alone = unread(decisions)
    for decision in left_alone:
        output.message(f"{decision.checkpoint.path} was left alone: {reason_words(decision.reasons)}")
    return 3 if left_alone else 0


Asks = Callable[[PrunePlan, int], bool]  # (the plan, how many go without a yes) → whether a person says yes


def asks(options: Namespace, output: Output, show: Callable[[PrunePlan], None] = lambda _: None) -> Asks | None:
    """Who asks whether a mass deletion is meant; None where nobody is there to answer, or -y did already.

    show: shows the plan first.
    """
    if options.yes or not output.can_ask():
        return None

    def ask(plan: PrunePlan, without_yes: int) -> bool:
        show(plan)
        going = sum(d.verdict.intact for d in plan.deletions)
        room = f"Without a yes only the oldest {without_yes} go, so that the next save fits.\n" if without_yes else ""
        return output.ask(f"{room}Delete {going} of {len(plan.intact)} intact checkpoints?")

    return ask


def say_stopped(pruned: Pruned, output: Output) -> int:
    """Say what waits for a yes, under -q once per plan. Returns exit code 25 if something does, else 0."""
    if not pruned.stopped or pruned.outcome is None:
        return 0
    if is_news(pruned) or not output.quiet:
        output.message(pruned.stopped)
    return MassDelete.exit_code


def say_outcome(outcome: Outcome | None, stopped: str, in_words: Callable[[Outcome], str], output: Output) -> None:
    """Say what came of a plan; of a dry run, which has no outcome, only what the real run would stop at.

    stopped: that in words, "" if nothing stops it. in_words: returns what came of the plan in words.
    """
    if outcome is None:
        if stopped:
            output.message(f"dry run, nothing was touched. {stopped}")
        return
    if outcome.deleted or outcome.failures or not stopped:
        output.routine(in_words(outcome))
    for line in text.failures(outcome):
        output.message(line)
