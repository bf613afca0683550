"""ckptkit completion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit import calling
from ckptkit.cli import options as flags
from ckptkit.manual import shells

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output

EXAMPLES = """\
  eval "$({completion} bash)"          now; in ~/.bashrc: in each new shell
  eval "$({completion} zsh)"           likewise in ~/.zshrc, below compinit
  {completion} fish | source           likewise in ~/.config/fish/config.fish"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Print the script that completes verbs, flags, choices, files and runs when TAB is pressed. Changes nothing.",
        EXAMPLES,
        (0, 1, 2),
    )
    parser.add_argument("shell", choices=shells.NAMES, metavar="|".join(shells.NAMES), help="the shell that reads it")
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Print it; in a checkout it completes bin/'s scripts too."""
    from ckptkit.cli import help_pages
    from ckptkit.cli.verbs import VERBS

    text = shells.script(options.shell, help_pages.pages(), VERBS, calling.scripts())
    output.result(text.rstrip("\n"))
    output.document({"shell": options.shell, "script": text})
    return 0
