"""What can't be meant is refused when the guard is made, with the reason; nothing was changed then."""

import os
from pathlib import Path
from typing import Any

import pytest

import ckptkit


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import tiny

    return tiny.trainer(tmp_path_factory.mktemp("run"), save_total_limit=3)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "keep_last_0": (dict(keep_last=0), "keep_last=0: must be a whole number above 0"),
    "keep_last_negative": (dict(keep_last=-1), "keep_last=-1"),
    "keep_last_text": (dict(keep_last="2"), "keep_last='2'"),
    "keep_last_true": (dict(keep_last=True), "keep_last=True"),
    "keep_last_fraction": (dict(keep_last=1.5), "keep_last=1.5"),
    "keep_every_0": (dict(keep_every=0), "keep_every=0"),
    "keep_best_nonsense": (dict(keep_best="=="), "keep_best='=='"),
    "keep_every_true": (dict(keep_every=True), "keep_every=True"),
    "keep_best_number": (dict(keep_best=5), "keep_best=5: must be text such as"),
    "on_full_unknown": (dict(on_full="pray"), "on_full='pray': must be one of skip, wait, stop, weights-only"),
    "on_full_none": (dict(on_full=None), "on_full=None"),
    "timeout_negative": (dict(on_full_timeout=-1), "on_full_timeout=-1"),
    "timeout_nan": (dict(on_full_timeout=float("nan")), "on_full_timeout=nan"),
    "timeout_true": (dict(on_full_timeout=True), "on_full_timeout=True"),
    "timeout_endless": (dict(on_full_timeout=float("inf")), "on_full_timeout=inf"),
    "timeout_text": (dict(on_full_timeout="soon"), "on_full_timeout='soon'"),
    "trust_text": (dict(trust="my.*"), "trust='my.*': must be a list of patterns, such as trust=['my_package.*']"),
    "trust_none": (dict(trust=None), "trust=None"),
    "trust_of_numbers": (dict(trust=[1]), "trust=[1]"),
    "trust_of_nothing": (dict(trust=[""]), "trust=['']"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused(trainer: Any, name: str) -> None:
    arguments, words = WRONG[name]
    with pytest.raises(ckptkit.UsageError) as refused:
        ckptkit.guard(trainer, **arguments)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert trainer.args.save_total_limit == 3, "rotation is still the Trainer's"
    assert "_save_checkpoint" not in vars(trainer)


WEIRD: tuple[object, ...] = (
    True,
    False,
    float("nan"),
    float("inf"),
    -1,
    -0.5,
    10**400,
    "",
    "\0",
    b"x",
    [],
    {},
    (),
    object(),
    len,
    1j,
)
NAMES = ("keep_last", "keep_every", "keep_best", "on_full", "on_full_timeout")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", WEIRD, ids=lambda value: type(value).__name__)
def test_weird_value_is_refused_by_its_arguments_name_and_nothing_is_taken_over(
    trainer: Any, name: str, value: Any
) -> None:
    with pytest.raises(ckptkit.UsageError, match=f"^{name}="):
        ckptkit.guard(trainer, **{name: value})
    assert trainer.args.save_total_limit == 3 and "_save_checkpoint" not in vars(trainer)


def test_something_else_than_a_trainer_is_refused() -> None:
    with pytest.raises(ckptkit.UsageError, match="Trainer"):
        ckptkit.guard(object())


@pytest.mark.parametrize("place", ["/", "/tmp", "/root"])
def test_an_output_dir_that_no_sweep_may_touch_is_refused(place: str) -> None:
    """Said at the start: found out at the first deletion, every checkpoint would stay until the disk is full."""
    import tiny

    with pytest.raises(ckptkit.UsageError, match="output_dir"):
        ckptkit.guard(tiny.trainer(place))


def test_a_second_call_returns_the_same_guard_with_the_settings_of_that_call(tmp_path: Path) -> None:
    """A notebook's cell is run again, as it was or changed."""
    import tiny

    trainer = tiny.trainer(tmp_path, max_steps=40, save_total_limit=3)
    guard = ckptkit.guard(trainer, 2)
    save = trainer._save_checkpoint
    assert ckptkit.guard(trainer, 2) is guard and trainer._save_checkpoint == save
    assert ckptkit.guard(trainer) is guard and guard.settings.keep_last == 3, "the Trainer's own limit, as at first"
    assert ckptkit.guard(trainer, 1, on_full="stop") is guard
    trainer.train()
    assert (guard.settings.on_full, sorted(os.listdir(tmp_path))) == ("stop", ["checkpoint-40"])
    assert len([c for c in trainer.callback_handler.callbacks if type(c).__name__ == "GuardCallback"]) == 1


def test_a_limit_of_0_or_less_in_the_trainer_means_none_was_chosen(tmp_path: Path) -> None:
    import tiny

    assert ckptkit.guard(tiny.trainer(tmp_path, save_total_limit=0)).settings.explicit is False


def test_what_is_trusted_is_given_here_or_stands_in_the_runs_settings(tmp_path: Path) -> None:
    import tiny

    assert ckptkit.guard(tiny.trainer(tmp_path), trust=["my_package.*"]).settings.trust == ("my_package.*",)
    (tmp_path / "ckptkit.toml").write_text('trust = ["another.*"]\n')
    assert ckptkit.guard(tiny.trainer(tmp_path)).settings.trust == ("another.*",)
