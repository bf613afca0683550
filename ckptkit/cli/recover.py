"""ckptkit recover."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from ckptkit.calling import command, place
from ckptkit.cli import acting
from ckptkit.cli import options as flags
from ckptkit.errors import LockHeld, UsageError
from ckptkit.ops.crash_log import Diagnosis, diagnosed
from ckptkit.ops.prune import in_words
from ckptkit.ops.prune import rest as ops_rest
from ckptkit.ops.read import rules_for, trust_for, unnamed
from ckptkit.ops.recover import StillWritten
from ckptkit.ops.recover import recover as ops_recover
from ckptkit.render import plain, recover, text
from ckptkit.units import age, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from ckptkit.cli.output import Output
    from ckptkit.model.advice import Check
    from ckptkit.model.decision import Decision, PrunePlan
    from ckptkit.ops.diskreport import Report
    from ckptkit.ops.latest import Latest
    from ckptkit.ops.prune import Pruned
    from ckptkit.ops.recover import Recovered, Young
    from ckptkit.render.json import Document

    Rest = Callable[[Pruned], tuple[tuple[str, ...], str]]  # names of what waits for a yes, the command that does it

EXAMPLES = """\
  {recover} RUN --dry-run            what it would do, and whether training could go on then; nothing is touched
  {recover} RUN                      free room, read the newest intact checkpoint, say what to type
  {recover} RUN --wait               within a minute of the crash: wait until the newest save counts as torn
  {recover} RUN --set-aside          rename a newer checkpoint that nobody can judge; go on from the intact one
  {recover} RUN --log train.log      read that log for the cause; without it, the log that is certainly this run's
  {recover} --log train.log          only the cause"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "After a crash, on one page: what happened, what was freed, what is resumed, and the line to type. It deletes "
        "torn checkpoints and what the rules release, reads the newest intact one whole, and checks that training can "
        "start. A second call changes nothing more. -v shows every step. Exit code 11: the newest save was written to "
        "within the last minute, so a training may be alive; try again, or add --wait.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 10, 11, 25),
        reads_log=True,
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="the Trainer's output_dir")
    parser.add_argument("--log", metavar="FILE", help="the training's log: names the cause of its end")
    parser.add_argument(
        "--wait", action="store_true", help="wait, a minute at most, until nobody has written to the newest save"
    )
    unknown = parser.add_mutually_exclusive_group()
    unknown.add_argument(
        "--set-aside", action="store_true",
        help="rename a newer checkpoint that can't be judged to set-aside-NAME, so that no resume takes it",
    )  # fmt: skip
    flags.add_unknown(unknown)
    flags.add_deleting(parser)
    flags.add_nonfinite(parser)
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Diagnose if there is a log alone, else recover the run."""
    if not options.run and not options.log:
        raise UsageError(f"name RUN, or --log FILE; {unnamed()}")
    if not options.run:
        return _diagnose(options, output)
    rules = rules_for(options.run, flags.typed_rules(options), options.config)
    page = RecoverPage(options, output, in_words(rules), lambda pruned: ops_rest(pruned, rules))
    try:
        recovered = ops_recover(
            options.run, rules, dry_run=options.dry_run, yes=options.yes, ask=page.asks(), wait=page.waits,
            set_aside=page.wants_aside, skip_unknown=options.skip_unknown, log=options.log or "",
            trust=trust_for(options.run, options.trust, options.config), allow_nonfinite=options.allow_nonfinite,
            lock_timeout=options.lock_timeout, tell=page.tell,
        )  # fmt: skip
    except StillWritten as young:
        raise LockHeld(f"{young}; fix: {command('recover', *_typed(options), '--wait')}") from None
    code = page.end(recovered)
    output.document(_document(recovered) if output.json else {})
    return code


def _diagnose(options: argparse.Namespace, output: Output) -> int:
    """What ended a training, and what to type; the run is the one that the log names."""
    diagnosis = diagnosed(options.log)
    for cause in diagnosis.causes:
        lines = [f"{cause.code}: {cause.message}", f"    {printable(cause.line)}"]
        lines += [f"    fix: {printable(cause.command)}"] if cause.command else []
        output.result("\n".join(lines))
    if not diagnosis.causes:
        words = f"its last error: {printable(diagnosis.last_error)}" if diagnosis.last_error else "it names no error"
        output.result(f"no cause that is known here in {printable(options.log)}; {words}")
    elif not all(cause.command for cause in diagnosis.causes):
        output.result(
            "The log does not tell where the checkpoints are: call recover again with the training's output_dir."
        )
    output.document({"causes": [cause._asdict() for cause in diagnosis.causes]})
    return 0


def _typed(options: argparse.Namespace) -> list[str]:
    """The words that make this call again, --wait apart."""
    words = [place(options.run)]
    for name, value in sorted(vars(options).items()):
        flag = "--" + name.replace("_", "-")
        if name in ("run", "wait") or value in (None, False, [], 0.0):
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [flag] if each is True else [flag, str(each)]
    return words


class RecoverPage:
    """What a person reads while a run is recovered: one page, and with -v every step in between.

    rules: what keeps checkpoints, in words. rest: given what was pruned, what waits for a yes.
    """

    def __init__(self, options: argparse.Namespace, output: Output, rules: str, rest: Rest) -> None:
        self.options, self.output, self.rules, self.rest = options, output, rules, rest
        self.diagnosis = Diagnosis()
        self._damaged_names: set[str] = set()  # names of damaged ones that the page has told already
        self._aside: set[str] = set()  # paths of those that were renamed: no longer left alone

    def asks(self) -> acting.Asks | None:
        """Who asks about a mass deletion; in a dry run, whether the real one would ask."""
        return acting.asks(self.options, self.output, self._before_asking)

    def tell(self, step: str, value: object) -> None:
        """Say what a step came to, by the method of its name. value: what `ops.recover` gives with it."""
        getattr(self, f"_say_{step}")(value)

    def waits(self, young: Young) -> bool:
        """Whether to go on once the newest save has been silent for a minute; a person may have to say so."""
        output, seconds = self.output, age(young.wait_seconds)
        if not self.options.wait:
            if self.options.dry_run or not output.can_ask():
                return False
            if not output.ask(f"{young.sentence}. Wait {seconds}, then go on?"):
                return False
        if not output.quiet:
            output.message(f"waiting {seconds}: then {young.name} counts as torn, if nobody writes to it")
        time.sleep(young.wait_seconds)
        return True

    def wants_aside(self, decision: Decision) -> bool:
        """Whether to rename one that nobody can judge: asked where a person is there, and nothing is taken as a yes."""
        options, output = self.options, self.output
        if options.set_aside or options.dry_run or not output.can_ask():
            return bool(options.set_aside)
        why = text.unjudged(decision.checkpoint, decision.verdict, time.time())
        name = printable(decision.checkpoint.name)
        return output.ask(f"{why}.\nRename it to set-aside-{name}, and go on from an older one? It can be undone.")

    def end(self, recovered: Recovered) -> int:
        """Say the line that resumes, and return the exit code."""
        output, go = self.output, all(check.state != "no-go" for check in recovered.checks)
        if not recovered.line:
            weights = command("latest", place(self.options.run), "--weights-only-ok")
            output.message(f"nothing to resume from. Weights to train on from, if there are any: {weights}")
            return 4
        line = recovered.going_on
        output.routine(recover.to_type(line.exact, line.in_script, line.started, go))
        output.result(line.line)
        pruned = recovered.pruned
        outcome = pruned.outcome if pruned else None
        unread = acting.say_unread(self._left(pruned), output) if pruned and outcome else 0
        if unread or (outcome and outcome.failures):
            return 3
        if not go:
            return 4
        return 25 if pruned and outcome and pruned.stopped else 0

    def _left(self, pruned: Pruned) -> list[Decision]:
        return [d for d in pruned.plan.decisions if d.checkpoint.path not in self._aside]

    # --- step by step ---

    def _detail(self, words: str) -> None:
        if self.options.verbose:
            self.output.routine(words)

    def _say_step(self, words: str) -> None:
        self._detail(words)

    def _say_diagnosis(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis

    def _say_report(self, report: Report) -> None:
        self._detail(plain.flags(report))
        diagnosis = self.diagnosis
        self.output.routine(recover.happened(report, diagnosis.causes, diagnosis.log, diagnosis.last_error))

    def _say_plan(self, plan: PrunePlan) -> None:
        self._detail(text.plan(plan, self.options.dry_run))

    def _before_asking(self, plan: PrunePlan) -> None:
        self.output.routine(recover.freed(plan, None, self.rules))

    def _say_pruned(self, pruned: Pruned) -> None:
        plan, outcome, stopped = pruned
        self._damaged_names = {d.checkpoint.name for d in plan.decisions if d.verdict.damaged}
        self.output.routine(recover.freed(plan, outcome, self.rules))
        for line in text.failures(outcome) if outcome else []:
            self.output.message(line)
        if stopped:
            self._say_waits(pruned)

    def _say_waits(self, pruned: Pruned) -> None:
        if self.output.quiet:
            acting.say_stopped(pruned, self.output)
            return
        names, rest_command = self.rest(pruned)
        dry = self.options.dry_run
        self.output.routine(recover.waits(names, rest_command, dry, asks=dry and self.asks() is not None))

    def _say_kept(self, reason: str) -> None:
        self.output.message(printable(reason))

    def _say_aside(self, paths: tuple[str, str]) -> None:
        old, new = paths
        if not new:
            self.output.routine(f"Would set aside {printable(old)}")
            return
        self._aside.add(old)
        self.output.routine(f"Set aside {printable(old)}\n  undo: mv -T {shlex.quote(new)} {shlex.quote(old)}")

    def _say_latest(self, newest: Latest) -> None:
        for skipped in newest.passed_over:
            if self.output.quiet or skipped.checkpoint.name not in self._damaged_names:
                self.output.message(text.passed_over(skipped.checkpoint, skipped.reason.message))
        self.output.routine(recover.resumes(newest.checkpoint.name))

    def _say_checks(self, checks: Sequence[Check]) -> None:
        self._detail(text.checklist(checks))
        if self.output.quiet:
            self.output.result(text.checklist(check for check in checks if check.state == "no-go"))
        typed_flags = [
            f"--{name.replace('_', '-')}" for name in ("skip_unknown", "allow_nonfinite") if getattr(self.options, name)
        ]
        typed_flags += [word for pattern in self.options.trust for word in ("--trust", pattern)]
        preflight = command("preflight", place(self.options.run), *typed_flags)
        self.output.routine(recover.start(checks, preflight, self.options.dry_run))


def _document(recovered: Recovered) -> Document:
    from ckptkit.render import json

    return {
        "causes": [cause._asdict() for cause in recovered.diagnosis.causes],
        "log": recovered.diagnosis.log or None,
        "flags": [json.flag(flag) for flag in recovered.report.flags],
        "pruned": json.pruned(*recovered.pruned) if recovered.pruned else None,
        "freed_bytes": recovered.freed_bytes,
        "set_aside": list(recovered.set_aside),
        "latest": recovered.latest.path if recovered.latest else None,
        "checks": [check._asdict() for check in recovered.checks],
        "resume": recovered.line,
    }
