"""The two that make inputs: atheris in a process of its own, hypothesis where there is no atheris."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.fuzz import harness

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.harness import Target

CHECKOUT = Path(__file__).resolve().parent.parent.parent
LONGEST = 1 << 16  # bytes of an input: what takes time squared takes seconds there
STRUCTURED, FIXED = 0.4, 0.7  # how often a format's own mutation is taken, and its checksums put right


class Ran(NamedTuple):
    """How far it came: inputs, seconds, MB at the peak; `ended` is "" or why it ended early."""

    inputs: int
    seconds: float
    megabytes: int
    ended: str = ""


def have_atheris() -> bool:
    """Whether its wheel is installed."""
    return importlib.util.find_spec("atheris") is not None


# -- atheris ----------------------------------------------------------------------------------------------------------


def atheris(name: str, seeds: Path, out: Path, runs: int, seconds: int) -> Ran:
    """Fuzz one target in a child; its findings come into `out`/findings/<name>, its corpus stays for the next time."""
    corpus, found = out / "corpus" / name, out / "findings" / name
    for folder in (corpus, found, seeds / name):
        folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-runs={runs}", f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={harness.PATIENCE}",
             "-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={found}/",
             str(corpus), str(seeds / name)]  # fmt: skip
    child, began = _child(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ckptkit-fuzz-", dir=harness.MEMORY) as scratch:
        words = {"name": name, "found": str(found), "flags": flags, "scratch": scratch, "stderr": f"{scratch}/stderr"}
        child.stdin.write(json.dumps(words) + "\n")
        child.stdin.flush()
        code = int(child.stdout.readline())
        told = Path(scratch, "stderr").read_text(errors="replace")
    inputs, peak = (_stat(told, key) for key in ("number_of_executed_units", "peak_rss_mb"))
    return Ran(inputs, time.monotonic() - began, peak, _ended(told, found) if code else "")


@cache
def _child() -> Any:
    """One for all targets: it ends with us, when its stdin does."""
    words = [sys.executable, "-m", "tests.fuzz.child"]
    return subprocess.Popen(words, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _stat(told: str, key: str) -> int:
    found = re.findall(rf"stat::{key}: +([0-9]+)", told)
    return int(found[-1]) if found else 0


def _ended(told: str, folder: Path) -> str:
    """Why libFuzzer ended the child: it writes the input to a file named after that."""
    for path in sorted(folder.glob("*-*")):
        if re.fullmatch(r"(timeout|oom|crash|leak)-[0-9a-f]{40}", path.name):
            kind = path.name.split("-")[0]
            harness.keep(folder, path.read_bytes(), harness.Found(kind, "", told[-3000:]))
            path.unlink()
            return kind
    return told[-1500:]


def instrumented() -> None:
    """Load all that is fuzzed, so that libFuzzer sees where an input goes. Before anything of ckptkit is loaded."""
    import atheris as library

    told = contextlib.redirect_stderr(io.StringIO())  # each module's name
    with told, library.instrument_imports(include=["ckptkit", "tests.fuzz.planted"]):
        import tests.fuzz.targets  # noqa: F401


def fuzz(name: str, found: Path, flags: list[str]) -> None:
    """In the child: libFuzzer's loop, which ends the process. A finding is kept, and the loop goes on."""
    import atheris as library

    from tests.fuzz.targets import PLANTED, TARGETS

    target = {**TARGETS, **PLANTED}[name]

    def one(data: bytes) -> None:
        if wrong := harness.look(target, data):
            harness.keep(found, data, wrong)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        return mutated(target, data, Random(seed), lambda raw: library.Mutate(raw, len(raw) + 64))[:longest]

    limit = (harness.peak() >> 20) + 4 * harness.MEGABYTES
    library.Setup(["fuzz", f"-rss_limit_mb={limit}", *_dictionary(target, found), *flags], one, custom_mutator=mutate)
    library.Fuzz()


def _dictionary(target: Target, folder: Path) -> list[str]:
    path = folder.parent / f"{folder.name}.dict"
    path.write_text("".join('"' + "".join(f"\\x{b:02x}" for b in t[:60]) + '"\n' for t in target.tokens if t))
    return [f"-dict={path}"] if target.tokens else []


def mutated(target: Target, data: bytes, rng: Random, plain: Callable[..., bytes]) -> bytes:
    """Given an input, return the next one: changed as its format asks for or by `plain`, then put right again."""
    way = target.mutate if target.mutate and rng.random() < STRUCTURED else None
    data = way(data, rng) if way else plain(data)
    return target.fix(data) if target.fix and rng.random() < FIXED else data


# -- hypothesis -------------------------------------------------------------------------------------------------------


def hypothesis(target: Target, name: str, seeds: Path, out: Path, runs: int, seconds: int) -> Ran:
    """The same without coverage: seeds, mutated a few times over. For as many inputs, or as long."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    pool = [path.read_bytes() for path in sorted((seeds / name).glob("*"))] or [b""]
    began, count = time.monotonic(), 0

    @settings(max_examples=runs, deadline=None, database=None, phases=[Phase.generate], derandomize=False,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.integers(0, len(pool) - 1), st.integers(0, 2**48))
    def one(at: int, seed: int) -> None:
        nonlocal count
        if time.monotonic() - began < seconds:
            count += 1
            data, rng = pool[at], Random(seed)
            for _ in range(rng.choice((1, 1, 2, 4, 8))):
                data = mutated(target, data, rng, lambda raw: scrambled(raw, rng, target.tokens))[:LONGEST]
            if wrong := harness.look(target, data):
                harness.keep(out / "findings" / name, data, wrong)

    one()
    return Ran(count, time.monotonic() - began, harness.peak() >> 20)


def scrambled(data: bytes, rng: Random, tokens: tuple[bytes, ...]) -> bytes:
    """Bytes changed, put in, taken out, doubled: what libFuzzer does, in a few lines."""
    at, to = sorted(rng.randint(0, len(data)) for _ in range(2))
    way = rng.randrange(5)
    if way == 0:
        return data[:at] + rng.choice((rng.randbytes(rng.randint(1, 8)), *tokens)) + data[at:]
    if way == 1:
        return data[:at] + data[min(to, at + 64) :]
    if way == 2:
        return data[:to] + data[at:]
    return data[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))]) + data[at + 1 :]
