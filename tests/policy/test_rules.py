"""Rules, ranges and settings refuse what can't be meant when they are made: from Python as from the shell."""

import copy
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit as kit
from ckptkit import config
from ckptkit.errors import UsageError
from ckptkit.policy.mass_delete import from_json
from ckptkit.policy.rules import Best, Range, Rules
from tests.support.typed import Ckptkit, RunOf

CHECKOUT = Path(__file__).resolve().parents[2]
WHOLE = "must be a whole number above 0, or None to leave the rule out"
SECONDS = "must be a number of seconds above 0, or text such as '2d'"
BYTES = "must be a whole number of bytes above 0, or text such as '20G'"
NAN, INF = math.nan, math.inf

# --- values ---------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "lower_end_last": (lambda: Range(3, 1), "low=3: must not be above high=1"),
    "both_negative": (lambda: Range(-1, -1), "low=-1: must be a whole number above 0"),
    "both_0": (lambda: Range(0, 0), "low=0: must be"),
    "low_0": (lambda: Range(0, 3), "low=0: must be"),
    "low_true": (lambda: Range(True, 3), "low=True: must be"),
    "high_float": (lambda: Range(1, 2.0), "high=2.0: must be"),  # type: ignore[arg-type]
    "high_infinite": (lambda: Range(1, INF), "high=inf: must be"),  # type: ignore[arg-type]
    "ends_are_text": (lambda: Range("2", "5"), "low='2': must be"),  # type: ignore[arg-type]
    "range_replaced": (lambda: Range(2, 5)._replace(high=1), "low=2: must not be above high=1"),
    "metric_empty": (lambda: Best("", "min", 1), "metric='': must be the name"),
    "metric_blank": (lambda: Best(" \n", "min", 1), r"metric=' \n': must be the name"),
    "metric_none": (lambda: Best(None, "min", 1), "metric=None: must be the name"),  # type: ignore[arg-type]
    "mode_unknown": (lambda: Best("loss", "lowest", 1), "mode='lowest': must be one of min, max"),
    "mode_none": (lambda: Best("loss", None, 1), "mode=None: must be one of min, max"),  # type: ignore[arg-type]
    "best_0": (lambda: Best("loss", "min", 0), "keep=0: must be"),
    "best_replaced": (lambda: Best("loss", "min", 1)._replace(keep=-1), "keep=-1: must be"),
    "last_0": (lambda: Rules(keep_last=0), f"keep_last=0: {WHOLE}"),
    "last_negative": (lambda: Rules(keep_last=-1), f"keep_last=-1: {WHOLE}"),
    "last_true": (lambda: Rules(keep_last=True), f"keep_last=True: {WHOLE}"),
    "last_float": (lambda: Rules(keep_last=2.0), f"keep_last=2.0: {WHOLE}"),  # type: ignore[arg-type]
    "last_pair": (lambda: Rules(keep_last=(2, 5)), f"keep_last=(2, 5): {WHOLE}"),  # type: ignore[arg-type]
    "last_text": (lambda: Rules(keep_last="5..2"), "keep_last='5..2': the lower end comes first"),
    "last_text_0": (lambda: Rules(keep_last="0"), "keep_last='0': must be a whole number above 0"),
    "last_beyond_all": (lambda: Rules(keep_last=10**5000), "keep_last=<int>: must be a whole number above 0"),
    "best_text": (lambda: Rules(keep_best="loss:best"), "keep_best='loss:best': must be METRIC"),
    "best_text_0": (lambda: Rules(keep_best="loss=0"), "keep_best='loss=0': N must be a whole number above 0"),
    "best_tuple": (lambda: Rules(keep_best=("loss", "min", 1)), "keep_best=('loss', 'min', 1): must be text such as"),  # type: ignore[arg-type]
    "every_0": (lambda: Rules(keep_every=0), f"keep_every=0: {WHOLE}"),
    "every_text": (lambda: Rules(keep_every="500"), f"keep_every='500': {WHOLE}"),  # type: ignore[arg-type]
    "every_float": (lambda: Rules(keep_every=0.5), f"keep_every=0.5: {WHOLE}"),  # type: ignore[arg-type]
    "within_negative": (lambda: Rules(keep_within=-5), f"keep_within=-5: {SECONDS}"),
    "within_0": (lambda: Rules(keep_within=0), f"keep_within=0: {SECONDS}"),
    "within_nan": (lambda: Rules(keep_within=NAN), f"keep_within=nan: {SECONDS}"),
    "within_infinite": (lambda: Rules(keep_within=INF), f"keep_within=inf: {SECONDS}"),
    "within_true": (lambda: Rules(keep_within=True), f"keep_within=True: {SECONDS}"),
    "within_bare_text": (lambda: Rules(keep_within="2"), "keep_within='2': must be a duration such as"),
    "target_negative": (lambda: Rules(free_target=-1), f"free_target=-1: {BYTES}"),
    "target_0": (lambda: Rules(free_target=0), f"free_target=0: {BYTES}"),
    "target_float": (lambda: Rules(free_target=2e10), f"free_target=20000000000.0: {BYTES}"),  # type: ignore[arg-type]
    "target_bare": (lambda: Rules(free_target="20"), "free_target='20': a bare number may mean two things: type 20G"),
    "target_share": (lambda: Rules(free_target="20%"), "free_target='20%': a share needs a volume"),
    "delete_negative": (lambda: Rules(max_delete=-1), "max_delete=-1: must be a whole number, 0 or more"),
    "delete_text": (lambda: Rules(max_delete="3"), "max_delete='3': must be a whole number, 0 or more"),  # type: ignore[arg-type]
    "rules_replaced": (lambda: Rules()._replace(keep_last=0), "keep_last=0: must be"),  # type: ignore[arg-type]
    "rules_by_place": (lambda: Rules(None, None, -1), "keep_every=-1: must be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_value_refuses_nonsense_in_one_line_with_the_arguments_name(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(UsageError) as refused:
        make()
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_rules_take_numbers_and_texts_as_typed() -> None:
    assert Rules(keep_last=2) == Rules() == Rules("2") == Rules(Range(2, 2))
    assert Rules(keep_last="2..5").keep_last == Range(2, 5)
    assert Rules(keep_best="eval_loss:min=2").keep_best == Best("eval_loss", "min", 2)
    assert Rules(keep_within="2d").keep_within == 172800.0
    assert Rules(free_target="20G").free_target == Rules(free_target="20GB").free_target == 20_000_000_000
    assert Rules(free_target="20GiB").free_target == 20 << 30
    assert Rules(max_delete=0).max_delete == 0
    assert Rules(None).empty and not Rules().empty


VALUES = [Range(2, 5), Best("loss", "max", 3), Rules(), Rules("2..5", "loss=2", 100, "2d", "20G", 1), Rules(None)]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_are_copied_pickled_and_replaced_as_they_are(value: Any) -> None:
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value), value._replace()):
        assert again == value and type(again) is type(value)


def test_pickle_of_nonsense_is_refused_when_it_is_loaded() -> None:
    forged = pickle.dumps(Range(2, 5), protocol=2).replace(b"K\x02K\x05", b"K\x05K\x02")
    with pytest.raises(UsageError, match="low=5"):
        pickle.loads(forged)


@pytest.mark.parametrize("nonsense", [[[3, 1], None, None, None, None, None], [0, None, None, None, None, None],
                                      [[2, 2], ["loss", "best", 1], None, None, None, None],
                                      [[2, 2], None, None, -5, None, None], ["2", 0, 0, 0, 0, 0]])  # fmt: skip
def test_remembered_policy_of_nonsense_is_no_policy(nonsense: list[object]) -> None:
    assert from_json(json.loads(json.dumps(nonsense))) is None


def test_value_with_a_hostile_repr_still_gets_one_line() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    class Long:
        def __repr__(self) -> str:
            return "a\nb" * 1000

    for value in (Hostile(), Long()):
        with pytest.raises(UsageError) as refused:
            Rules(keep_last=value)  # type: ignore[arg-type]
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


# --- settings -------------------------------------------------------------------------------------------------------


Flags = dict[str, Any] | tuple[()]


def rules(run: Path, flags: Flags = (), environ: Flags = (), **asked: Any) -> Rules:
    return config.rules(str(run), dict(flags), dict(environ), 1000, None, asked)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("keep_last = true", "keep_last = true: must be a whole number above 0, or a range such as 2..5"),
        ("keep_best = loss", 'text needs quotes: keep_best = "loss"'),
        ("keep_last = [2]", "keep_last = [2]: must be a whole number above 0"),
        ("keep_last = 2.0", "keep_last = 2.0: must be a whole number above 0"),
        ("keep_last = 0", "'0': must be a whole number above 0"),
        ("keep_best = true", "keep_best = true: must be METRIC[:min|max][=N]"),
        ("keep_every = {a = 1}", "keep_every = {'a': 1}: must be a whole number above 0"),
        ("keep_within = 2", "'2': must be a duration"),
        ("free_target = 20", "'20': a bare number may mean two things: type 20G or 20%"),
        ("max_delete = -1", "'-1': must be a whole number, 0 or more"),
        ('trust = "x.*"', "trust = 'x.*': must be a list of names, such as trust = [\"pkg.*\"]"),
        ("trust = [1]", "trust = [1]: must be a list of names"),
        ('trust = ["*"]', "'*': must be a name with dots"),
        ("keep_lats = 2", "unknown setting 'keep_lats': did you mean keep_last?"),
        ("quiet = 0", "unknown setting 'quiet': known: keep_last"),
    ],
)
def test_bad_line_of_the_file_is_told_with_the_file(tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "ckptkit.toml").write_text(line + "\n")
    with pytest.raises(UsageError) as refused:
        rules(tmp_path)
    assert fault in str(refused.value) and f"{tmp_path}/ckptkit.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_variable_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown setting 'CKPTKIT_KEEP_LATS': did you mean CKPTKIT_KEEP_LAST\?"):
        rules(tmp_path, environ={"CKPTKIT_KEEP_LATS": "3"})
    with pytest.raises(UsageError, match="unknown setting 'CKPTKIT_': known: CKPTKIT_KEEP_LAST"):
        config.keep_resumable(str(tmp_path), {}, {"CKPTKIT_": "3"})


@pytest.mark.parametrize("text, seconds", [("90s", 90), ("5m", 300), ("2h", 7200), ("2d", 172_800), ("1w", 604_800)])
def test_durations_are_seconds_to_weeks(text: str, seconds: int) -> None:
    assert Rules(keep_within=text).keep_within == seconds


@pytest.mark.parametrize("name", ["PYTHON", "STATE", "SEED", "EXHAUSTIVE", "MUTANT", "REPLAY_PRIVATE", "ALERT_MESSAGE"])
def test_variable_that_is_no_setting_passes(tmp_path: Path, name: str) -> None:
    assert rules(tmp_path, environ={f"CKPTKIT_{name}": "x"}) == Rules()


def test_looking_for_what_was_meant_costs_nothing_while_all_is_well(tmp_path: Path) -> None:
    code = "import os, sys; from ckptkit import config; config.rules('.', {}, os.environ, 0)\n"
    code += "assert not {'difflib', 'inspect'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(CHECKOUT)}, cwd=tmp_path, check=True)


def test_config_file_that_is_none_is_told_by_its_flag(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run = run_of({100: "intact"})
    for file, fault in (("", "no such file"), (str(tmp_path), "Is a directory"), ("nowhere", "no such file")):
        called = ckptkit("prune", run, "--config", file)
        assert called.code == 2 and f"--config {file!r}: {fault}" in called.err and "remove" not in called.err


def test_what_python_asks_for_beats_all_and_the_rest_stays_as_set(tmp_path: Path) -> None:
    (tmp_path / "ckptkit.toml").write_text('keep_last = 3\nkeep_every = 500\nfree_target = "50%"\n')
    assert rules(tmp_path) == Rules(3, None, 500, None, 500)
    assert rules(tmp_path, environ={"CKPTKIT_KEEP_EVERY": "7"}, keep_last=1) == Rules(1, None, 7, None, 500)
    assert rules(tmp_path, keep_last="2..5", free_target="20%").free_target == 200
    assert rules(tmp_path, keep_last=None, keep_best="loss").keep_last == Range(3, 3)
    with pytest.raises(UsageError, match="keep_last=0: must be"):
        rules(tmp_path, keep_last=0)
    with pytest.raises(UsageError, match="free_target='20': a bare number"):
        rules(tmp_path, free_target="20")


def test_share_of_a_volume_that_tells_no_size_is_still_a_target(tmp_path: Path) -> None:
    assert config.rules(str(tmp_path), {"free_target": "20%"}, {}, 0).free_target == 1


# --- trust ----------------------------------------------------------------------------------------------------------


def trust(run: Path, flags: Flags = (), environ: Flags = ()) -> tuple[str, ...]:
    return config.trust(str(run), dict(flags), dict(environ))


def test_trust_comes_from_flags_before_the_environment_before_the_file(tmp_path: Path) -> None:
    assert trust(tmp_path) == ()
    (tmp_path / "ckptkit.toml").write_text('trust = ["pkg.*", "other.mod.Class"]\n')
    assert trust(tmp_path) == ("pkg.*", "other.mod.Class")
    assert trust(tmp_path, environ={"CKPTKIT_TRUST": "a.b, c.*"}) == ("a.b", "c.*")
    assert trust(tmp_path, {"trust": ["d.e"]}, {"CKPTKIT_TRUST": "a.b"}) == ("d.e",)
    assert trust(tmp_path, {"trust": None}, {"CKPTKIT_TRUST": "a.b"}) == ("a.b",)
    assert trust(tmp_path, {"trust": []}) == ("pkg.*", "other.mod.Class")
    assert rules(tmp_path) == Rules(), "a rule it is none"


def test_empty_list_in_the_file_trusts_nothing(tmp_path: Path) -> None:
    (tmp_path / "ckptkit.toml").write_text("trust = []\n")
    assert trust(tmp_path) == ()


@pytest.mark.parametrize("pattern", ["*", "*.*", "**", "*.system", "", ".", "pkg.", ".x", "pkg", "p k.g", "pkg.[a-z]",
                                     "pkg.?", "1pkg.x", "pkg..x", "a.b,", "pkg.x\ny", "-x.y"])  # fmt: skip
def test_pattern_that_would_trust_too_much_or_nothing_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="must be a name with dots.*set by --trust"):
        trust(tmp_path, {"trust": [pattern] if pattern else ""})
    with pytest.raises(UsageError, match="must be a name with dots.*set by CKPTKIT_TRUST"):
        trust(tmp_path, {}, {"CKPTKIT_TRUST": pattern})


def test_public_values_are_these() -> None:
    assert kit.Rules is Rules and kit.Range is Range
