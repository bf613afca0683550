"""ckptkit preflight."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ckptkit.cli import options as flags
from ckptkit.ops.preflight import configured, preflight
from ckptkit.ops.read import rules_where, trust_for
from ckptkit.ops.scripts import is_script
from ckptkit.ops.scripts import scripts as ops_scripts
from ckptkit.render import text
from ckptkit.render.preflight import page, verdict

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output

EXAMPLES = """\
  {preflight} RUN && python train.py
  {preflight} RUN --config train.yaml    judge the settings that it will start with, not the last ones
  {preflight} RUN --script train.py      look for a callback of its own that deletes checkpoints
  {preflight} RUN -q                 say only what stands against a start"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Go or no-go before a training (re)starts: room for the whole run, the checkpoint to resume from, a file "
        "really written and deleted, a second training, who watches. Exits 4 if something stands against it.",
        EXAMPLES,
        (0, 1, 2, 4),
    )
    parser.add_argument("run", metavar="RUN", help="the Trainer's output_dir; it need not be there yet")
    flags.add_rules(
        parser,
        "a training's settings (.yaml, .yml, .json) to judge instead of those in the newest checkpoint, with the "
        "scripts that it names; or a script, as --script; any other file is read instead of RUN/ckptkit.toml",
    )
    parser.add_argument(
        "--script", action="append", default=[], metavar="FILE",
        help="a training's own script (.py, .sh): tell whether it deletes checkpoints; never run; may be repeated",
    )  # fmt: skip
    flags.add_unknown(parser)
    flags.add_nonfinite(parser)
    flags.add_trust(parser)
    return parser


def run(options: argparse.Namespace, output: Output) -> int:
    """Measure, judge, tell."""
    training = configured(options.config) if options.config else None
    settings, origin = training or (None, "")
    # What a training reads is none of ours; any other file holds our own rules.
    ours = None if training or is_script(options.config or "") else options.config
    rules = rules_where(options.run, flags.typed_rules(options), ours)
    trust = trust_for(options.run, options.trust, ours)
    scripts = ops_scripts(options.script, options.config or "", settings)
    checks = preflight(
        options.run, rules, settings=settings, origin=origin, skip_unknown=options.skip_unknown, trust=trust,
        allow_nonfinite=options.allow_nonfinite, scripts=scripts, config=options.config if training else "",
    )  # fmt: skip
    against = [check for check in checks if check.state == "no-go"]
    shown = against if output.quiet else checks
    output.result(text.checklist(shown) if output.verbose else page(shown, _columns()))
    output.routine(verdict(checks))
    output.document({"go": not against, "checks": [check._asdict() for check in checks]})
    return 4 if against else 0


def _columns() -> int | None:
    """The terminal's, None where the result goes elsewhere."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size((80, 24)).columns
