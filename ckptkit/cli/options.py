"""Flags that verbs share, and the help that each ends in."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from ckptkit.calling import command
from ckptkit.cli.output import stop
from ckptkit.errors import UsageError

# Our own words are English, and argparse's translations would load locale and look for catalogues at each start.
setattr(argparse, "_", str)  # noqa: B010 - mypy knows of no such name

EXIT_CODES = {
    0: "done",
    1: "unexpected error",
    2: "usage or configuration: nothing changed",
    3: "part of it failed",
    4: "a checkpoint is damaged or refused, none is intact, nobody can judge the one named, or no-go",
    5: "free target not reachable without deleting the last intact checkpoint; plan, move: it does not fit",
    10: "no such run",
    11: "another process holds the lock",
    25: "mass-delete guard: not all was done",
    75: "the other box failed for now: try again",
    130: "ended by Ctrl-C",
    143: "ended by SIGTERM",
}


class Parser(argparse.ArgumentParser):
    """argparse that tells a fault as every other fault is told: one clear line, as JSON too, exit 2."""

    verb = ""
    examples = ""
    exits: tuple[tuple[int, str], ...] = ()
    common: argparse._ArgumentGroup

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """A mistyped flag is told before anything else: its value would be taken for a RUN, or a RUN be missing."""
        for word in args or ():
            if word == "--":
                break
            if word[:2] == "--" and " " not in word and word.split("=", 1)[0] not in self._option_string_actions:
                self._no_such_flag(word)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The options; what is left over is a fault."""
        options, rest = self.parse_known_args(args, namespace)
        if rest and rest[0][:1] == "-":
            self._no_such_flag(rest[0])
        if rest:
            self.error(f"unexpected argument: {rest[0]!r}")
        return options

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, with where the flags are listed."""
        missing = message.partition("the following arguments are required: ")[2]
        if missing in ("RUN", "run"):
            from ckptkit.ops.read import unnamed

            raise UsageError(f"missing: RUN; {unnamed()}")
        fault = f"missing: {self._described(missing)}" if missing else message.removeprefix("argument ")
        raise UsageError(f"{fault}; see {command(self.verb, '--help')}")

    def _described(self, missing: str) -> str:
        """Given names of arguments as argparse lists them, return each with what it is."""
        known = {}
        for action in self._actions:
            what = f"one of {', '.join(map(str, action.choices))}" if action.choices else action.help
            known["/".join(action.option_strings) or str(action.metavar or action.dest)] = what
        names = missing.split(", ")
        return ", ".join(f"{name} ({known[name]})" if known.get(name) else name for name in names)

    def format_help(self) -> str:
        """The page of this verb."""
        from ckptkit.cli import help_pages
        from ckptkit.manual import page

        return page.text(help_pages.facts(self), help_pages.columns())

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            from ckptkit.cli import suggest

            known = [str(choice) for choice in action.choices]
            meant = suggest.ask(suggest.close(str(value), known)) or f"; it is one of {', '.join(known)}"
            name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
            self.error(f"{name} has no choice {value!r}{meant}")

    def _no_such_flag(self, word: str) -> NoReturn:
        from ckptkit.cli import suggest

        shown = [name for action in self._actions if action.help != argparse.SUPPRESS for name in action.option_strings]
        name = word.split("=", 1)[0]
        self.error(f"no such flag: {name}{suggest.ask(suggest.flag(name, shown))}")

    def _print_message(self, message: str, *_: object) -> None:
        """A page that nobody reads to its end is no fault; one that a full disk refuses is."""
        stop(0, message.rstrip("\n"))


class _Version(argparse.Action):
    def __call__(self, *_: object) -> None:
        from ckptkit.version import __version__

        stop(0, f"ckptkit {__version__}")


def parser(verb: str, description: str, examples: str, codes: tuple[int, ...], reads_log: bool = False) -> Parser:
    """Given a verb's words, return its parser with the flags that all verbs take.

    examples: a line each, `{verb} ARGUMENTS    what it is for`; {verb} becomes the verb as the person calls it.
    codes: its exit codes. reads_log: it has a --log FILE of its own, the training's.
    """
    # With no width given argparse asks shutil for the terminal's at each flag, which loads four compression libraries.
    parser = Parser(
        prog=verb, description=description, allow_abbrev=False, add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80),
    )  # fmt: skip
    parser.verb, parser.examples, parser.exits = verb, examples, tuple((code, EXIT_CODES[code]) for code in codes)
    parser.common = group = parser.add_argument_group("flags of every verb")
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing when all went well (cron)")
    group.add_argument("-v", "--verbose", action="store_true", help="say more")
    group.add_argument("--json", action="store_true", help=f"one JSON document, schema ckptkit.{verb}/1")
    group.add_argument("--no-color", action="store_true", help="no colour (also NO_COLOR, TERM=dumb, no terminal)")
    group.add_argument(
        "--log-to", metavar="FILE", help="append messages there too: a new file or a log of ours; 5 rotations of 10 MB"
    )
    group.add_argument("-h", "--help", action="help", help="show this page")
    group.add_argument("--version", action=_Version, nargs=0, help="show the version")
    if not reads_log:
        parser.add_argument("--log", nargs="?", action=_Renamed, help=argparse.SUPPRESS)
    return parser


class _Renamed(argparse.Action):
    """What our own log was called before, and `recover` calls the training's."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error("--log is --log-to FILE for our own log (recover --log FILE reads the training's)")


CONFIG = "read this instead of RUN/ckptkit.toml"


def add_deleting(parser: argparse.ArgumentParser) -> None:
    """The flags of verbs that delete by the rules."""
    add_acting(parser, "let a mass deletion through")
    add_rules(parser)


def add_acting(parser: argparse.ArgumentParser, yes: str) -> None:
    """The flags of verbs that remove something by a plan. yes: what -y lets through."""
    parser.add_argument("-n", "--dry-run", action="store_true", help="the same plan, not executed; touches nothing")
    parser.add_argument("-y", "--yes", action="store_true", help=yes)
    add_lock(parser)


def add_lock(parser: argparse.ArgumentParser) -> None:
    """The flag of verbs that change a run."""
    parser.add_argument(
        "--lock-timeout", type=seconds, default=0.0, metavar="SECONDS", help="wait that long for another sweep"
    )


def seconds(text: str) -> float:
    """A waiting time in seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")
    return value


def count(text: str) -> int:
    """How many, 1 or more."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return value


def add_rules(parser: argparse.ArgumentParser, config: str = CONFIG) -> None:
    """The keep rules. A checkpoint goes only if every rule releases it. config: what --config is for."""
    group = add_keeping(parser)
    group.add_argument("--free-target", metavar="SIZE|PCT%", help="with N..M: go down to N only until so much is free")
    group.add_argument("--max-delete", metavar="N", help="let at most N intact ones go; more need a yes (25)")
    add_config(group, config)


def add_keeping(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The rules that say what is kept, without those about deleting the rest. Returns their group."""
    group = parser.add_argument_group("rules (defaults < RUN/ckptkit.toml < CKPTKIT_* < flags)")
    group.add_argument("--keep-last", metavar="N[..M]", help="the newest N (default 2); N..M with --free-target")
    group.add_argument("--keep-best", metavar="METRIC[:min|max][=N]", help="the best N by a logged metric")
    group.add_argument("--keep-every", metavar="STEPS", help="those at multiples of STEPS")
    group.add_argument("--keep-within", metavar="DURATION", help="those saved within 2d, 12h, ... of the newest")
    return group


def add_unknown(container: argparse._ActionsContainer) -> None:
    """The flag of verbs that say whether training can go on."""
    container.add_argument(
        "--skip-unknown",
        action="store_true",
        help="go on although the newest checkpoint can't be judged; leave it there",
    )


def add_trust(container: argparse._ActionsContainer) -> None:
    """The flag of verbs that look at what a pickle would call."""
    container.add_argument(
        "--trust", action="append", default=[], metavar="PATTERN",
        help="names that a pickle may call although no framework allows it, such as 'pkg.*'; may be repeated",
    )  # fmt: skip


def add_nonfinite(container: argparse._ActionsContainer) -> None:
    """The flag of verbs that choose what training goes on from."""
    container.add_argument(
        "--allow-nonfinite", action="store_true", help="also one whose weights became NaN or infinite"
    )


def add_config(container: argparse._ActionsContainer, config: str = CONFIG) -> None:
    """The flag of verbs that have settings."""
    container.add_argument("--config", metavar="FILE", help=config)


def typed_rules(options: argparse.Namespace) -> dict[str, str | None]:
    """{setting: text as typed, or None}."""
    keys = ("keep_last", "keep_best", "keep_every", "keep_within", "free_target", "max_delete")
    return {key: getattr(options, key, None) for key in keys}
