"""bin/recover."""

import argparse
import shlex
import time
from collections.abc import Callable

from ckptkit import ops
from ckptkit.calling import command
from ckptkit.cli import acting
from ckptkit.cli import options as flags
from ckptkit.cli.output import Output
from ckptkit.errors import UsageError
from ckptkit.model import Decision
from ckptkit.report import plain, text

EXAMPLES = """\
  bin/recover RUN --dry-run            every step, nothing touched
  bin/recover RUN                      report, free, verify, check, and the line that resumes
  bin/recover RUN --set-aside          go on from the newest intact one; the newer one that can't be judged is renamed
  bin/recover RUN --log train.log      what ended the training, in plain words; then the same
  bin/recover --log train.log          only that"""


def parser(verb: str) -> argparse.ArgumentParser:
    """The flags of the verb."""
    made = flags.parser(
        verb,
        "After a crash, all steps in order: report, delete torn checkpoints and what the policy frees, read the newest "
        "intact one whole, check that it can start, print what resumes. Calling it again changes nothing more.",
        EXAMPLES,
        (0, 1, 2, 3, 4, 10, 11, 25),
        reads_log=True,
    )
    made.add_argument("run", nargs="?", metavar="RUN", help="the Trainer's output_dir")
    made.add_argument("--log", metavar="FILE", help="the training's log: name the cause of its end")
    unknown = made.add_mutually_exclusive_group()
    unknown.add_argument(
        "--set-aside", action="store_true",
        help="rename a newer checkpoint that can't be judged to set-aside-NAME, so that no resume takes it",
    )  # fmt: skip
    flags.add_unknown(unknown)
    flags.add_deleting(made)
    flags.add_nonfinite(made)
    flags.add_trust(made)
    return made


def run(options: argparse.Namespace, output: Output) -> int:
    """Diagnose if there is a log, recover if there is a run."""
    if not options.run and not options.log:
        raise UsageError("name RUN, or --log FILE; see --help")
    causes = _diagnose(options, output) if options.log else []
    if not options.run:
        output.document({"causes": causes})
        return 0
    rules = ops.rules_for(options.run, flags.typed_rules(options), options.config)
    done = ops.recover(
        options.run, rules, dry_run=options.dry_run, yes=options.yes, ask=acting.asks(options, output),
        set_aside=lambda decision: _wants_aside(decision, options, output), skip_unknown=options.skip_unknown,
        trust=ops.trust_for(options.run, options.trust, options.config), allow_nonfinite=options.allow_nonfinite,
        lock_timeout=options.lock_timeout, tell=lambda step, value: SAY[step](value, options, output),
    )  # fmt: skip
    code = _tell(done, options.run, output)
    output.document(_document(done, causes) if output.json else {})
    return code


def _diagnose(options: argparse.Namespace, output: Output) -> list[dict[str, str]]:
    causes, last = ops.diagnosed(options.log, options.run or "RUN")
    for cause in causes:
        output.result(f"{cause.code}: {cause.message}\n    {text.printable(cause.line)}\n    fix: {cause.command}")
    if not causes:
        said = f"its last error: {text.printable(last)}" if last else "it names no error"
        output.result(f"no cause that is known here in {text.printable(options.log)}; {said}")
    return [cause._asdict() for cause in causes]


def _wants_aside(decision: Decision, options: argparse.Namespace, output: Output) -> bool:
    """Whether to rename one that nobody can judge: asked where a person is there to answer, and nothing is a yes."""
    if options.set_aside or options.dry_run or not output.can_ask():
        return bool(options.set_aside)
    why = text.unjudged(decision.checkpoint, decision.verdict, time.time())
    return output.ask(f"{why}. A resume goes on from an older one: set it aside? (a rename, nothing is lost)")


def _say_aside(paths: tuple[str, str], options: argparse.Namespace, output: Output) -> None:
    old, new = paths
    if not new:
        output.routine(f"would set aside {text.printable(old)}")
        return
    output.routine(f"set aside {text.printable(old)}; undo: mv -T {shlex.quote(new)} {shlex.quote(old)}")


def _say_pruned(pruned: ops.Pruned, options: argparse.Namespace, output: Output) -> None:
    acting.say_outcome(pruned.outcome, pruned.stopped, lambda done: text.outcome(pruned.plan, done), output)
    acting.say_stopped(pruned, output)


def _say_latest(found: ops.Latest, options: argparse.Namespace, output: Output) -> None:
    for passed in found.passed_over:
        output.message(text.passed_over(passed.checkpoint, passed.reason))
    output.routine(f"{text.printable(found.path)} is intact")


SAY: dict[str, Callable[..., None]] = {
    "step": lambda words, options, output: output.routine(words),
    "report": lambda found, options, output: output.routine(plain.flags(found)),
    "plan": lambda plan, options, output: output.routine(text.plan(plan, options.dry_run)),
    "pruned": _say_pruned,
    "kept": lambda reason, options, output: output.message(text.printable(reason)),
    "aside": _say_aside,
    "latest": _say_latest,
    "checks": lambda checks, options, output: output.result(
        text.checklist(c for c in checks if c.state == "no-go" or not output.quiet)
    ),
}


def _tell(done: ops.Recovered, run: str, output: Output) -> int:
    """Say the line that resumes, and return the exit code."""
    if not done.line:
        weights = command("latest", run, "--weights-only-ok")
        output.message(
            text.printable(f"nothing to resume from; weights to train on from, where there are any: {weights}")
        )
        return 4
    output.result(done.line)
    unread = acting.say_unread(done.pruned.plan.decisions, output) if done.pruned and done.pruned.outcome else 0
    if unread or (done.pruned and done.pruned.outcome and done.pruned.outcome.failures):
        return 3
    if any(check.state == "no-go" for check in done.checks):
        return 4
    return 25 if done.pruned and done.pruned.outcome and done.pruned.stopped else 0


def _document(done: ops.Recovered, causes: list[dict[str, str]]) -> dict[str, object]:
    from ckptkit.report import documents, reported

    return {
        "causes": causes,
        "flags": [reported.flag(flag) for flag in done.report.flags],
        "pruned": documents.pruned(*done.pruned) if done.pruned else None,
        "set_aside": list(done.set_aside),
        "latest": done.latest.path if done.latest else None,
        "checks": [check._asdict() for check in done.checks],
        "resume": done.line,
    }
