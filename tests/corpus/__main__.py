"""python -m tests.corpus DIR makes all of it; --table prints the table of docs/integrity.md."""

import os
import subprocess
import sys
from pathlib import Path

from tests.corpus.originals import CHECKOUT, lay_down, make
from tests.corpus.table import CORPUS, table


def main(arguments: list[str]) -> int:
    """One argument."""
    if arguments == ["--table"]:
        print(table(), end="")
    elif len(arguments) == 1 and not arguments[0].startswith("-"):
        _make_all(Path(arguments[0]).resolve())
    else:
        print("usage: python -m tests.corpus DIR | --table", file=sys.stderr)
        return 2
    return 0


def _make_all(top: Path) -> None:
    """DIR/real and DIR/originals are what the others are made of; each entry is DIR/<name>/checkpoint-100."""
    top.mkdir(parents=True)
    subprocess.run([sys.executable, str(CHECKOUT / "tests/support/make_real.py"), str(top / "real")], check=True)
    originals = make(str(top / "real"), top / "originals")
    for name, damage in CORPUS.items():
        if not damage.needs_root or os.geteuid() == 0:
            damage.harm(lay_down(originals, damage.kind, top / name))
            print(top / name / "checkpoint-100")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
