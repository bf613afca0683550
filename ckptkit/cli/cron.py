"""ckptkit cron."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Literal

from ckptkit.calling import command
from ckptkit.cli import options as flags
from ckptkit.errors import MassDelete, NoSuchRun, UsageError
from ckptkit.ops.cron import installed_root, put_in, root_of, runner, scheduled, unschedule
from ckptkit.ops.cron import schedule as ops_schedule
from ckptkit.render import cron
from ckptkit.units import printable

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output
    from ckptkit.model.schedule import Schedule

Way = Literal["cron", "systemd", "tmux"]

EXAMPLES = """\
  {cron} --install /workspace/runs     prune and watch every 10 minutes, verify at night
  {cron} --install /workspace/runs -n  shows what would be put in and deleted
  {cron} --tmux /workspace/runs        on a box without cron and systemd
  {cron} --show
  {cron} --remove /workspace/runs"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Prune, watch and verify by itself every run at or below RUNS, those that appear later too. Keeps all lines of "
        "your crontab that are not ours. Shows first what will be put in, and what the first sweep of each run "
        "deletes; asks once where that is more than half of the intact ones, and remembers the yes for RUNS.",
        EXAMPLES,
        (0, 1, 2, 3, 10, 25),
    )
    parser.add_argument(
        "runs", nargs="?", metavar="RUNS",
        help="the directory above the runs (default: the one of our lines that you stand in, else the current one)",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--install", action="store_true", help="put our lines for RUNS in, in place of earlier ones")
    what.add_argument("--show", action="store_true", help="what is put in, who runs it, when it last ran")
    what.add_argument("--remove", action="store_true", help="take ours out, and the yes: for RUNS, or for all")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--systemd", action="store_true", help="install as systemd timers instead")
    how.add_argument("--tmux", action="store_true", help="install as a detached tmux session instead")
    parser.add_argument("-n", "--dry-run", action="store_true", help="show it, change nothing")
    parser.add_argument("-y", "--yes", action="store_true", help="let sweeps below RUNS delete more than half")
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Install, show or remove."""
    way: Way = "systemd" if options.systemd else "tmux" if options.tmux else "cron"
    if (options.show or options.remove) and way != "cron":
        raise UsageError(f"--{way} goes with --install; --show and --remove take all that is ours")
    if options.show:
        return _show(options, output)
    if options.remove:
        return _remove(options, output)
    if not options.install and way == "cron":
        raise UsageError(f"say what to do: --install, --show or --remove; see {command('cron', '--help')}")
    return _install(options, output, way)


def _install(options: argparse.Namespace, output: Output, way: Way) -> int:
    schedule = ops_schedule(installed_root() if options.runs is None else options.runs, way)
    output.routine(cron.plan(schedule, options.dry_run or options.verbose))
    if options.dry_run:
        output.document(cron.document(schedule, True, runner(schedule)[0]))
        return 0
    yes = schedule.agreed or options.yes or _asked(schedule, output)
    fault = put_in(schedule, yes)
    if yes and not schedule.agreed and not fault:
        output.routine(f"your yes is remembered for all runs below {printable(schedule.root)}")
    _tell_runner(schedule, output)
    runs_it = runner(schedule)[0]
    output.document(cron.document(schedule._replace(agreed=yes and not fault), False, runs_it))
    if fault:
        output.message(f"the yes could not be remembered: {fault}; sweeps will not delete more than half without it")
        return 3
    return _tell_what_waits(schedule, yes, output)


def _asked(schedule: Schedule, output: Output) -> bool:
    """Whether a person says yes; without a terminal nothing is taken as one."""
    waiting = [sweep for sweep in schedule.sweeps if sweep.needs_a_yes and sweep.limit is None]
    return output.can_ask() and output.ask(cron.question(schedule, waiting))


def _tell_runner(schedule: Schedule, output: Output) -> None:
    """Say what was done, and what is still to be typed so that it runs."""
    runs_it, fix = runner(schedule)
    output.routine(f"{'put into' if schedule.changed else 'unchanged in'} {printable(schedule.place)}")
    if not runs_it:
        output.message(f"nothing runs it yet: no {schedule.way} daemon runs on this box; fix: {fix}")
    elif fix:
        output.message(f"the timers stop when you log out; fix: {fix}")
    if schedule.way == "tmux":
        output.routine("it ends when the box restarts; look at it with: tmux attach -t ckptkit")


def _tell_what_waits(schedule: Schedule, yes: bool, output: Output) -> int:
    """Say which deletions the mass-delete guard will stop. Returns 25 if there are some, else 0."""
    limited = [sweep for sweep in schedule.sweeps if sweep.needs_a_yes and sweep.limit is not None]
    for sweep in limited:
        output.message(f"{sweep.run}: its settings say max_delete = {sweep.limit}: sweeps that need more will stop")
    waits = any(sweep.needs_a_yes and sweep.limit is None for sweep in schedule.sweeps) and not yes
    if not yes and (waits or not output.quiet):
        again = [f"--{schedule.way}" if schedule.way != "cron" else "--install", schedule.root, "-y"]
        message = "sweeps will not delete more than half of a run's intact checkpoints without your yes"
        output.message(f"{message}; fix: {command('cron', *again)}")
    return MassDelete.exit_code if waits or limited else 0


def _show(options: argparse.Namespace, output: Output) -> int:
    entries = scheduled(options.runs)
    now = time.time()
    for entry in entries:
        output.result(cron.installed(entry, now))
        if entry.fix:
            output.message(
                f"{'the timers stop when you log out' if entry.runs_it else 'nobody runs it'}; fix: {entry.fix}"
            )
    output.document(cron.documents("show", entries))
    if entries:
        return 0
    here = options.runs or root_of(os.path.join(os.getcwd(), "run"))
    fix = f"; fix: {command('cron', '--install', here)}" if here else ""
    output.message(f"nothing of ours is put in{fix}")
    return NoSuchRun.exit_code if options.runs else 0


def _remove(options: argparse.Namespace, output: Output) -> int:
    entries = unschedule(options.runs, dry_run=options.dry_run)
    did = "would be taken out" if options.dry_run else "taken out"
    for entry in entries:
        output.routine(f"{printable(entry.root)}: {did} ({entry.way}), and the yes for it")
    if not entries:
        output.routine("nothing of ours is put in")
    output.document(cron.documents("remove", entries, options.dry_run))
    return 0
