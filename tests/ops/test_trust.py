"""--trust PATTERN: from the flag, the run's file or the environment to whoever follows a pickle, in every verb."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptkit.cli import main
from ckptkit.model.checkpoint import Verdict
from ckptkit.ops import read
from ckptkit.verify.verdict import verify as verify_checkpoint
from tests.support.runs import tree
from tests.support.typed import Ckptkit, RunOf

THREE = {100: "intact", 200: "intact", 300: "intact"}
VERBS = {
    "verify": ("RUN",),
    "verify_one": ("RUN/checkpoint-300",),
    "latest": ("RUN",),
    "prune": ("RUN", "--dry-run"),
    "strip": ("RUN", "--dry-run"),
    "strip_one": ("RUN/checkpoint-100", "--dry-run"),
    "preflight": ("RUN",),
    "recover": ("RUN", "--dry-run"),
    "discard": ("RUN/checkpoint-100", "--dry-run"),
}


def words(name: str, run: str) -> tuple[str, ...]:
    return name.split("_")[0], *(word.replace("RUN", run) for word in VERBS[name])


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[Any]]:
    """trusted(verb, ...) types it, and returns the patterns that each follower of pickles was given."""
    given = set()

    def noting(checkpoint: Any, now: Any, level: Any, quiet: Any, known: Any, reading: Any, before: Any) -> Verdict:
        if reading.pickles:
            given.add(reading.trust)
        return verify_checkpoint(checkpoint, now, level, quiet, known, reading, before)

    def call(*words: Any) -> set[Any]:
        given.clear()
        monkeypatch.setattr(read, "verify_checkpoint", noting)
        with pytest.raises(SystemExit):
            main([*words, "-q"])
        return given

    return call


@pytest.mark.parametrize("name", VERBS)
def test_patterns_reach_whoever_follows_a_pickle(
    run_of: RunOf, trusted: Callable[..., set[Any]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(THREE)
    assert trusted(*words(name, run)) == {()}
    assert trusted(*words(name, run), "--trust", "mine.*", "--trust", "their.models.Net") == {
        ("mine.*", "their.models.Net")
    }
    Path(run, "ckptkit.toml").write_text('trust = ["filed.*"]\n')
    assert trusted(*words(name, run)) == {("filed.*",)}
    monkeypatch.setenv("CKPTKIT_TRUST", "set.*")
    assert trusted(*words(name, run)) == {("set.*",)}


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("pattern", ["*", "", "*.system", "os"])
def test_a_pattern_that_would_trust_anything_is_refused(
    run_of: RunOf, ckptkit: Ckptkit, name: str, pattern: str
) -> None:
    run = run_of(THREE)
    before = tree(run)
    called = ckptkit(*words(name, run), f"--trust={pattern}")
    assert called.code == 2 and called.err.count("\n") == 1 and "(set by --trust)" in called.err
    assert tree(run) == before


def test_broken_settings_of_one_run_do_not_keep_the_others_from_being_verified(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    first, second = run_of(THREE, at=tmp_path / "root/first"), run_of(THREE, at=tmp_path / "root/second")
    Path(first, "ckptkit.toml").write_text("trust = 3\n")
    called = ckptkit("verify", tmp_path / "root", "--json")
    assert called.code == 2 and called.err.count("\n") == 1 and "ckptkit.toml" in called.err
    assert len(called.json["checkpoints"]) == 6 and called.json["errors"][0]["path"] == first
    assert ckptkit("verify", second).code == 0
