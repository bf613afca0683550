"""The command: see the package's docstring."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import tests.fuzz
from tests.fuzz import engines, harness
from tests.fuzz.targets import PLANTED, TARGETS

CACHE = Path(tempfile.gettempdir()) / "ckptkit-fuzz"
ROW = "{:15} {:>10} {:>8} {:>9} {:>8}  {}"


def main() -> int:
    asked = _arguments()
    if asked.list:
        print("\n".join(TARGETS))
        return 0
    names = list(TARGETS) if asked.all else [asked.target]
    if asked.replay:
        return _replay(asked.target, asked.replay)
    make_seeds(asked.out, asked.real)
    print(ROW.format("target", "inputs", "seconds", "inputs/s", "MB peak", "findings"), flush=True)
    return max([_fuzzed(name, asked) for name in names])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.fuzz", description=tests.fuzz.__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("target", nargs="?", choices=[*TARGETS, *PLANTED])
    parser.add_argument("--all", action="store_true", help="every target in turn")
    parser.add_argument("--list", action="store_true", help="the targets' names")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="inputs to look at, each on its own")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs a target")
    parser.add_argument("--seconds", type=int, default=3600, help="at most, a target")
    parser.add_argument("--out", type=Path, default=CACHE, help=f"seeds, corpus, findings ({CACHE})")
    parser.add_argument("--real", type=Path, help="real checkpoints, as make_real.py leaves them; made if not given")
    parser.add_argument("--engine", choices=["atheris", "hypothesis"], help="the first of them that is installed")
    asked = parser.parse_args()
    if not (asked.target or asked.all or asked.list):
        parser.error("name a target, or --all; --list shows them")
    return asked


def make_seeds(out: Path, real: Path | None) -> None:
    """Write `out`/seeds if it is not there. real: real checkpoints, made if not given."""
    if not (out / "seeds").exists():
        if real is None:
            real = out / "real"
            script = engines.CHECKOUT / "tests/support/make_real.py"
            subprocess.run([sys.executable, script, real, "lora", "full", "sharded"], check=True, capture_output=True)
        # Apart, since it loads torch: a peak of memory that this process would have had already tells nothing.
        words = [sys.executable, "-m", "tests.fuzz.seeds", str(out / "seeds.new"), str(real)]
        subprocess.run(words, check=True, cwd=engines.CHECKOUT)
        (out / "seeds.new").rename(out / "seeds")


def _fuzzed(name: str, asked: argparse.Namespace) -> int:
    """Run one target and print its line; 1 if it found something, or ended before it should."""
    if asked.engine == "hypothesis" or not (asked.engine or engines.have_atheris()):
        target = {**TARGETS, **PLANTED}[name]
        ran = engines.hypothesis(target, name, asked.out / "seeds", asked.out, asked.runs, asked.seconds)
    else:
        ran = engines.atheris(name, asked.out / "seeds", asked.out, asked.runs, asked.seconds)
    found = harness.kept(asked.out / "findings" / name)
    told = f"{len(found)}" + (f", ended early: {ran.ended}" if ran.ended else "")
    rate = ran.inputs / max(ran.seconds, 0.001)
    print(ROW.format(name, f"{ran.inputs:,}", f"{ran.seconds:.1f}", f"{rate:,.0f}", ran.megabytes, told), flush=True)
    for path, line in found:
        print(f"  {line}\n    {path}", flush=True)
    return int(bool(found or ran.ended))


def _replay(name: str, paths: list[Path]) -> int:
    """Each input in a process of its own; what it did wrong, or that it did nothing wrong."""
    found = [harness.replay({**TARGETS, **PLANTED}[name], path.read_bytes()) for path in paths]
    for path, wrong in zip(paths, found, strict=True):
        print(f"{path}: {f'{wrong.kind} {wrong.where} {wrong.told}' if wrong else 'nothing wrong'}")
    return int(any(found))


if __name__ == "__main__":
    sys.exit(main())
