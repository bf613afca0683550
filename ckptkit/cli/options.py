"""Flags that verbs share, and the help that each ends in."""

from __future__ import annotations

import argparse

from ckptkit.calling import command
from ckptkit.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# Our own words are English, and argparse's translations would load locale and look for catalogues at each start.
setattr(argparse, "_", str)  # noqa: B010 - mypy knows of no such name

EXIT_CODES = {
    0: "done",
    1: "unexpected error",
    2: "usage or configuration: nothing changed",
    3: "part of it failed",
    4: "a checkpoint is damaged or refused, none is intact, nobody can judge the one named, or no-go",
    5: "free target not reachable above the floor, or (plan) it does not fit",
    10: "no such run",
    11: "another process holds the lock",
    25: "mass-delete guard: not all was done",
    75: "the other box failed for now: try again",
    130: "ended by Ctrl-C",
    143: "ended by SIGTERM",
}
HELP_COLUMNS = 110


class Parser(argparse.ArgumentParser):
    """argparse that tells a fault as every other fault is told: one clear line, as JSON too, exit 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parser(verb: str, description: str, examples: str, codes: tuple[int, ...], reads_log: bool = False) -> Parser:
    """Given a verb's words, return its parser with the flags that all verbs take.

    codes: its exit codes. reads_log: it has a --log FILE of its own, the training's.
    """
    exits = "\n".join(f"  {code:<4} {EXIT_CODES[code]}" for code in codes)
    made = Parser(
        prog=command(verb),
        description=description,
        epilog=f"examples:\n{examples}\n\nexit codes:\n{exits}",
        # With no width given argparse asks shutil for the terminal's, which loads four compression libraries.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=HELP_COLUMNS),
        allow_abbrev=False,
    )
    made.add_argument("-q", "--quiet", action="store_true", help="say nothing when all went well (cron)")
    made.add_argument("-v", "--verbose", action="store_true", help="say more")
    made.add_argument("--json", action="store_true", help=f"one JSON document, schema ckptkit.{verb}/1")
    made.add_argument("--no-color", action="store_true", help="no colour (also NO_COLOR, TERM=dumb, no terminal)")
    made.add_argument(
        "--log-to", metavar="FILE", help="append messages there too: a new file or a log of ours; 5 rotations of 10 MB"
    )
    if not reads_log:
        made.add_argument("--log", nargs="?", action=_Renamed, help=argparse.SUPPRESS)
    return made


class _Renamed(argparse.Action):
    """What our own log was called before, and `recover` calls the training's."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error("--log is --log-to FILE for our own log (recover --log FILE reads the training's)")


CONFIG = "read this instead of RUN/ckptkit.toml"


def add_deleting(made: argparse.ArgumentParser) -> None:
    """The flags of verbs that delete by the rules."""
    add_acting(made, "let a mass deletion through")
    add_rules(made)


def add_acting(made: argparse.ArgumentParser, yes: str) -> None:
    """The flags of verbs that remove something by a plan. yes: what -y lets through."""
    made.add_argument("-n", "--dry-run", action="store_true", help="the same plan, not executed; touches nothing")
    made.add_argument("-y", "--yes", action="store_true", help=yes)
    add_lock(made)


def add_lock(made: argparse.ArgumentParser) -> None:
    """The flag of verbs that change a run."""
    made.add_argument(
        "--lock-timeout", type=seconds, default=0.0, metavar="SECONDS", help="wait that long for another sweep"
    )


def seconds(text: str) -> float:
    """A waiting time in seconds, 0 or more."""
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError
    return value


def count(text: str) -> int:
    """How many, 1 or more."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def add_rules(made: argparse.ArgumentParser, config: str = CONFIG) -> None:
    """The keep rules. A checkpoint goes only if every rule releases it. config: what --config is for."""
    group = add_keeping(made)
    group.add_argument("--free-target", metavar="SIZE|PCT%", help="with N..M: go down to N only until so much is free")
    group.add_argument("--max-delete", metavar="N", help="let at most N intact ones go; more need a yes (25)")
    add_config(group, config)


def add_keeping(made: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The rules that say what is kept, without those about deleting the rest. Returns their group."""
    group = made.add_argument_group("rules (defaults < RUN/ckptkit.toml < CKPTKIT_* < flags)")
    group.add_argument("--keep-last", metavar="N[..M]", help="the newest N (default 2); N..M with --free-target")
    group.add_argument("--keep-best", metavar="METRIC[:min|max][=N]", help="the best N by a logged metric")
    group.add_argument("--keep-every", metavar="STEPS", help="those at multiples of STEPS")
    group.add_argument("--keep-within", metavar="DURATION", help="those saved within 2d, 12h, ... of the newest")
    return group


def add_unknown(made: argparse._ActionsContainer) -> None:
    """The flag of verbs that say whether training can go on."""
    made.add_argument(
        "--skip-unknown",
        action="store_true",
        help="go on although the newest checkpoint can't be judged; leave it there",
    )


def add_trust(made: argparse._ActionsContainer) -> None:
    """The flag of verbs that look at what a pickle would call."""
    made.add_argument(
        "--trust", action="append", default=[], metavar="PATTERN",
        help="names that a pickle may call although no framework allows it, such as 'pkg.*'; may be repeated",
    )  # fmt: skip


def add_nonfinite(made: argparse._ActionsContainer) -> None:
    """The flag of verbs that choose what training goes on from."""
    made.add_argument("--allow-nonfinite", action="store_true", help="also one whose weights became NaN or infinite")


def add_config(made: argparse._ActionsContainer, config: str = CONFIG) -> None:
    """The flag of verbs that have settings."""
    made.add_argument("--config", metavar="FILE", help=config)


def typed_rules(options: argparse.Namespace) -> dict[str, str | None]:
    """{setting: text as typed, or None}."""
    keys = ("keep_last", "keep_best", "keep_every", "keep_within", "free_target", "max_delete")
    return {key: getattr(options, key, None) for key in keys}
