"""ckptkit pin, ckptkit unpin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.cli import options as flags
from ckptkit.ops.pin import pin, unpin
from ckptkit.units import printable

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output

EXAMPLES = {
    "pin": "  {pin} RUN/checkpoint-5000          keep it whatever the rules say",
    "unpin": "  {unpin} RUN/checkpoint-5000        let the rules decide again",
}
WORDS = {"pin": "Never delete a checkpoint.", "unpin": "Let the rules decide about a checkpoint again."}


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(verb, WORDS[verb], EXAMPLES[verb], (0, 1, 2, 10, 11))
    parser.add_argument("checkpoints", nargs="+", metavar="CKPT", help="RUN/checkpoint-N")
    parser.set_defaults(act=pin if verb == "pin" else unpin, did=f"{verb}ned")
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Pin or unpin each."""
    paths = [options.act(path) for path in options.checkpoints]
    for path in paths:
        output.routine(f"{options.did} {printable(path)}")
    output.document({"checkpoints": paths})
    return 0
