"""`python -m benchmarks.verify`: what `bin/verify` costs, as a multiple of what else reads the same bytes.

On real checkpoints of 3 GB, fp32 and bf16, written by a real Trainer. Peers take turns with verify in the same run;
start-up counts for all. cold: the page cache is empty but for the programs (needs root). warm: the cache is filled
again before each start, since verify gives back what it reads. Exits 1 if a target is missed or verify fails.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from benchmarks.verify import making, turns
from benchmarks.verify.rows import Row, against, document, memory, table

PARTS = ("quick", "memory", "large")
Made = tuple[str, str, float, str]  # kind, name, amount, dtype: see making.py
LEVELS = ("quick", "full", "deep")
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
PACKAGED = {"rhash": ("rhash", "--crc32"), "crc32": ("crc32",)}  # measured where they are installed
COLD, WARM, DEEP, QUICK = 0.9, 0.9, 0.5, 5.0  # the targets
VERIFY = os.path.join(turns.CHECKOUT, "bin", "verify")
PEERS = os.path.join(turns.CHECKOUT, "benchmarks", "verify", "peers.py")


def main() -> int:
    """Exit 0 if all targets are met."""
    options = parser().parse_args()
    options.verify = os.path.abspath(options.verify)
    with tempfile.TemporaryDirectory(dir=options.folder and os.path.abspath(options.folder)) as folder:
        os.chdir(folder)  # `python -m` looks here first: in a checkout it would measure that one, whatever was asked
        os.environ["BENCHMARK_COMPILED"] = os.path.join(folder, "compiled")
        rows = list(Measure(options, folder).rows())
    print(json.dumps([document(row) for row in rows]) if options.json else table(rows))
    return 0 if all(row.met for row in rows) else 1


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--size", type=float, default=3e9, help="bytes of the large checkpoints (default 3e9)")
    made.add_argument("--rounds", type=int, default=7, help="how often each command is started (default 7)")
    made.add_argument("--checkpoints", type=int, default=1000, help="how many the quick level looks at (default 1000)")
    made.add_argument("--tensors", type=int, default=100_000, help="in the model of many tensors (default 100000)")
    made.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    made.add_argument("--no-cold", action="store_true", help="leave the page cache of this machine alone")
    made.add_argument("--folder", help="where to write; needs 2.2 times --size (default: the temporary directory)")
    made.add_argument("--verify", default=VERIFY, help="another bin/verify to measure, such as a patched copy's")
    made.add_argument("--json", action="store_true", help="one document on stdout: a list of rows")
    return made


class Measure:
    """The parts of the measure, each of which makes what it reads below `folder`."""

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        self.options, self.folder = options, folder
        self.cold = turns.may_drop() and not options.no_cold

    def rows(self) -> Iterator[Row]:
        """Those asked for. One large checkpoint at a time is on the disk."""
        if small := tuple(self.small_ones()):
            self.make(*small)
        if "quick" in self.options.parts:
            yield from self.many_checkpoints()
        if "memory" in self.options.parts:
            yield from self.small()
        for short in DTYPES if "large" in self.options.parts else ():
            yield from self.large(short)

    def small_ones(self) -> Iterator[Made]:
        """What is made first. Of `many` there are copies later, or it stands for what is to be loaded."""
        if "quick" in self.options.parts or self.cold:
            yield "model", "many", 3e5, "float32"
        if "memory" in self.options.parts:
            yield "model", "smaller", self.options.size / 1e3, "float32"
            yield "model", "small", self.options.size / 10, "float32"
            yield "tensors", "tensors", self.options.tensors, "float32"

    def many_checkpoints(self) -> Iterator[Row]:
        """quick over many small checkpoints, against opening the weights alone of each."""
        run = self.run("many")
        making.copies(run, self.options.checkpoints)
        self.judge(run)
        checkpoints = [os.path.join(run, name) for name in os.listdir(run)]
        peers = {f"safe_open, {f}": (sys.executable, PEERS, "safe_open", f, *checkpoints) for f in ("pt", "numpy")}
        commands = {"verify": (self.options.verify, "-q", run)} | peers
        costs = turns.turns(commands, turns.warm([]), self.options.rounds + 1)
        for peer in peers:
            yield against(f"quick, {len(checkpoints)} checkpoints", costs["verify"][1:], peer, costs[peer][1:], QUICK)
        yield memory(f"memory, quick, {len(checkpoints)} checkpoints", costs["verify"], 0)

    def small(self) -> Iterator[Row]:
        """Memory where files are small, and where tensors are many."""
        size, count = self.options.size, self.options.tensors
        yield from self.peaks(f"{size / 1e3 / 1e6:g} MB", self.run("smaller"))
        yield from self.peaks(f"{size / 10 / 1e6:g} MB", self.run("small"))
        yield from self.peaks(f"{count} tensors", self.run("tensors"))

    def peaks(self, what: str, run: str) -> Iterator[Row]:
        """At each level."""
        for level in LEVELS:
            command = (self.options.verify, "-q", "--level", level, run)
            yield memory(f"memory, {level}, {what}", [turns.cost(command)], bytes_of(files(run)))

    def large(self, short: str) -> Iterator[Row]:
        """All that is asked of one large checkpoint; it is removed at the end."""
        self.make(("model", short, self.options.size, DTYPES[short]))
        run = self.run(short)
        checkpoint = os.path.join(run, making.COPY_OF)
        manifest = making.linked(checkpoint, os.path.join(self.folder, f"{short}-manifest"))
        turns.cost((self.options.verify, "-q", "--write", manifest))
        yield from self.warm(short, checkpoint, manifest)
        yield from self.from_disk(short, checkpoint, manifest) if self.cold else ()
        yield from self.peaks(f"{self.options.size / 1e6:g} MB {short}", run)
        shutil.rmtree(run)
        shutil.rmtree(os.path.dirname(manifest))

    def warm(self, short: str, checkpoint: str, manifest: str) -> Iterator[Row]:
        """full and deep against the digest alone."""
        read = files(checkpoint)
        peers = {"crc32 of isal, 1 MiB": (sys.executable, PEERS, "crc32", *read)}
        peers |= {name: (*tool, *read) for name, tool in PACKAGED.items() if shutil.which(tool[0])}
        own = self.full(checkpoint, manifest) | {"deep": (self.options.verify, "-q", "--level", "deep", checkpoint)}
        costs = turns.turns(own | peers, turns.warm(read), self.options.rounds)
        for name in own:
            for peer in peers:
                target = DEEP if name == "deep" else WARM
                yield against(f"{name}, warm, {short}", costs[name], peer, costs[peer], target, bytes_of(read))

    def from_disk(self, short: str, checkpoint: str, manifest: str) -> Iterator[Row]:
        """full against the disk alone."""
        read = files(checkpoint)
        own = self.full(checkpoint, manifest)
        ready = turns.cold([(self.options.verify, "-q", "--level", "full", self.tiny()), ("cat", VERIFY)])
        costs = turns.turns(own | {"cat": ("cat", *read)}, ready, self.options.rounds)
        for name in own:
            yield against(f"{name}, cold, {short}", costs[name], "cat", costs["cat"], COLD, bytes_of(read))

    def full(self, checkpoint: str, manifest: str) -> dict[str, turns.Command]:
        """Without and with a manifest."""
        of = {"full": checkpoint, "full, manifest": manifest}
        return {name: (self.options.verify, "-q", "--level", "full", path) for name, path in of.items()}

    def tiny(self) -> str:
        """A checkpoint that takes verify through all that it would do to a large one."""
        return os.path.join(self.run("many"), making.COPY_OF)

    def make(self, *wanted: Made) -> None:
        """A run with one checkpoint of a real Trainer's for each."""
        texts = [(kind, self.run(name), str(int(amount)), dtype) for kind, name, amount, dtype in wanted]
        script = os.path.join(turns.CHECKOUT, "benchmarks", "verify", "making.py")
        command = (sys.executable, script, *itertools.chain.from_iterable(texts))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _, run, _, _ in texts:
            self.judge(run)

    def judge(self, run: str) -> None:
        """Exit unless all checkpoints are intact: to refuse one costs nothing, and is not what is measured."""
        command = (self.options.verify, "--json", run)
        told = subprocess.run(command, env=turns.environment(), stdout=subprocess.PIPE, check=False)
        found = json.loads(told.stdout)["checkpoints"]
        wrong = [c for c in found if c["verdict"] != "intact" or not c["resumable"]]
        if wrong or told.returncode:
            sys.exit(f"benchmarks.verify: {run} ended with {told.returncode}: {wrong[:1]}")

    def run(self, name: str) -> str:
        """Where it lies."""
        return os.path.join(self.folder, name)


def files(top: str) -> list[str]:
    """All files below."""
    return sorted(os.path.join(parent, name) for parent, _, names in os.walk(top) for name in names)


def bytes_of(paths: list[str]) -> int:
    """Their sizes together."""
    return sum(os.path.getsize(path) for path in paths)


if __name__ == "__main__":
    sys.exit(main())
