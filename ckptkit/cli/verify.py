"""ckptkit verify."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

from ckptkit.calling import command, place
from ckptkit.cli import options as flags
from ckptkit.errors import CkptkitError, NoSuchRun, UsageError
from ckptkit.ops.read import QUIET_SECONDS, bytes_at, going_on, trust_for, verify
from ckptkit.ops.record import record_damage
from ckptkit.ops.verify import budget as ops_budget
from ckptkit.ops.verify import is_sound, standing_still, write_manifest, yield_to_others
from ckptkit.ops.verify import reading as ops_reading
from ckptkit.render import text
from ckptkit.units import age, count, printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from ckptkit.cli.output import Output
    from ckptkit.model.checkpoint import Checkpoint, Judged, Level
    from ckptkit.ops.verify import Budget

EXAMPLES = """\
  {verify} RUN                          every checkpoint of a run
  {verify} RUN/checkpoint-9000 --explain
  {verify} --level full RUN -q          read every byte; silent if all are intact
  {verify} --level full --sample 1/7 --max-rate 200M /workspace -q      a seventh each night
  {verify} --write RUN                  write manifests for older checkpoints
  {verify} --write --sha256 RUN         with the digest that the Hub and sha256sum check"""
LEVELS = "quick: names, sizes, headers, state; full: every byte, against CRC-32 and manifest; deep: the values too"

MOST_TOLD = 10  # checkpoints that nobody can judge, the newest of them


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Tell which checkpoints are intact. It reads only, unpickles nothing, and changes nothing (except --write).",
        EXAMPLES,
        (0, 1, 2, 3, 4, 10),
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a checkpoint, a run, or a directory above runs")
    parser.add_argument("--level", choices=("quick", "full", "deep"), default="quick", help=LEVELS)
    parser.add_argument("--explain", action="store_true", help="say what each can still be used for")
    parser.add_argument(
        "--write", action="store_true", help="read every byte, and write the manifest of each intact one"
    )
    parser.add_argument("--sha256", action="store_true", help="also compute SHA-256; the manifest then holds it")
    budget = parser.add_argument_group("budget (for full and deep)")
    budget.add_argument("--sample", metavar="N/T", help="read N of T parts of the files; each call reads the next ones")
    budget.add_argument("--max-duration", metavar="DURATION", help="start no new file after 30m, 2h, ...")
    budget.add_argument("--max-rate", metavar="SIZE", help="read at most 200M, 1G, ... a second")
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Verify each path; exit 4 if any checkpoint is damaged or refused, or nobody can judge what was named."""
    budget = ops_budget(options.sample, options.max_duration, options.max_rate)
    level: Level = "full" if options.write and options.level == "quick" else options.level
    if level == "quick" and any((*budget, options.sha256)):
        raise UsageError("--sample, --max-duration, --max-rate and --sha256 need --level full or deep")
    if options.write and (budget.sample or budget.max_seconds):
        raise UsageError("--write reads every file: it does not go with --sample or --max-duration")
    judged, errors = _judge(options, level, budget, output)
    if lost := record_damage(*judged):
        output.detail(printable(lost))
    codes = [error["exit_code"] for error in errors]
    if options.write:
        codes += _write(judged, output)
    _show(judged, options, output, errors)
    return next(filter(None, codes), 0) if is_sound(judged, options.paths) else 4


class PathError(TypedDict):
    """A path that could not be judged, or not by its run's own settings, as `ckptkit.verify/1` has it."""

    path: str
    message: str
    exit_code: int


def _judge(
    options: argparse.Namespace, level: Level, budget: Budget, output: Output
) -> tuple[list[Judged], list[PathError]]:
    """Each path's checkpoints with their verdicts, and what stood in the way."""
    judged: list[Judged] = []
    errors: list[PathError] = []

    def trust(run: str) -> Sequence[str]:
        try:
            return trust_for(run, options.trust)
        except (UsageError, NoSuchRun) as error:  # its own settings are broken: it is judged all the same
            _note(run, error, errors, output)
            return ()

    if level != "quick":
        yield_to_others()
    with _progress(options, level, output) as progress:
        digests = ("crc32", "sha256") if options.sha256 else ("crc32",)
        reading = ops_reading(options.paths, budget, progress, digests, values=options.write)
        for path in options.paths:
            try:
                judged += verify(path, level=level, reading=reading, trust=trust)
            except CkptkitError as error:
                _note(path, error, errors, output)
    return list(standing_still(judged)) if level == "deep" else judged, errors


def _note(path: str, error: CkptkitError, errors: list[PathError], output: Output) -> None:
    output.message(printable(str(error)))
    errors.append({"path": path, "message": str(error), "exit_code": error.exit_code})


def _write(judged: list[Judged], output: Output) -> list[int]:
    """Write the manifest of each intact one. Returns an exit code for each that could not be written."""
    codes = []
    for one in judged:
        try:
            if write_manifest(one):
                output.routine(f"wrote the manifest of {printable(one.checkpoint.path)}")
        except UsageError as error:
            output.message(printable(str(error)))
            codes.append(3)
    return codes


def _show(judged: list[Judged], options: argparse.Namespace, output: Output, errors: list[PathError]) -> None:
    # -q speaks of what is wrong alone; without it, of all.
    wrong = [j for j in judged if j.verdict.damaged or j.verdict.refused or j.verdict.state == "unknown"]
    output.result(text.verdicts(wrong if output.quiet else judged, going_on if options.explain else None))
    unknown = [j for j in judged if j.verdict.state == "unknown"]
    for checkpoint, _ in (j for j in judged if j.verdict.state == "in_progress"):
        output.message(_try_again(checkpoint, time.time()))
    for one in unknown[-MOST_TOLD:]:
        output.message(text.unjudged(*one, time.time()))
    if len(unknown) > MOST_TOLD:
        output.message(f"and {len(unknown) - MOST_TOLD} more that can't be judged")
    intact = sum(j.verdict.intact for j in judged)
    level = judged[0].verdict.level if judged else options.level
    refused = sum(j.verdict.refused for j in judged)
    refusals = f"; a resume refuses {refused} of them" if refused else ""
    if judged:
        are = "is" if len(judged) == 1 else "are"
        output.routine(f"{intact} of {count(len(judged), 'checkpoint')} {are} intact at level {level}{refusals}")
    if unread := sum(j.verdict.files_unread for j in judged):
        output.routine(f"{unread} files were not read whole this time")
    if wrong and not options.explain:
        paths = [place(path) for path in options.paths]
        output.message(f"what can still be done with it: {command('verify', *paths, '--explain')}")
    if output.json:
        from ckptkit.render import json

        output.document({"checkpoints": [json.verified(j) for j in judged], "errors": errors})


def _try_again(checkpoint: Checkpoint, now: float) -> str:
    """Of one that is not finished and was written to a moment ago: a save that is running, or one that just died."""
    silent = now - checkpoint.modified_at
    wait = age(max(1.0, QUIET_SECONDS - silent))
    return f"{checkpoint.path}: last written {age(silent)} ago; if nothing is training, try again in {wait}"


@contextmanager
def _progress(options: argparse.Namespace, level: Level, output: Output) -> Iterator[Callable[[int], None] | None]:
    """What to tell each count of bytes to; a bar where a person is looking at a terminal."""
    if level == "quick" or not output.shows_progress():
        yield None
        return
    from ckptkit.cli.terminal import bar

    with bar(sum(bytes_at(path) for path in options.paths)) as progress:
        yield progress
