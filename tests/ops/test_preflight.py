"""bin/preflight: each check seen to stand against a start and to let it through, on real runs and real volumes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptkit import calling
from ckptkit.forecast import next_save_bytes
from ckptkit.model.advice import Check
from ckptkit.ops.preflight import preflight
from ckptkit.ops.read import scan
from ckptkit.policy.keep import DEFAULT_RULES, Range, Rules
from tests.support.runs import make_run, names, tree
from tests.support.typed import Called, Ckptkit, Fill, Mount, RunOf, present
from tests.support.waiting import wait_for

CHECKOUT = Path(__file__).resolve().parents[2]
TWO = {100: "intact", 200: "intact"}


def states(run: str, rules: Rules = DEFAULT_RULES, **more: Any) -> dict[str, str]:
    return {check.code: check.state for check in preflight(str(run), rules, **more)}


@pytest.mark.mounts
def test_a_healthy_run_goes(run_of: RunOf, ckptkit: Ckptkit, calm: str) -> None:
    run = run_of(TWO, at=f"{calm}/run")
    called = ckptkit("preflight", run, env=dict.fromkeys(("HOME", "TMPDIR", "HF_HOME"), calm))
    assert called.code == 0 and re.fullmatch("go(: [0-9]+ things? to look at)?", called.out.splitlines()[-1])
    assert "no-go" not in called.out


def test_a_run_that_is_not_there_yet_goes_from_step_0(tmp_path: Path) -> None:
    found = {check.code: check for check in preflight(str(tmp_path / "new" / "run"), DEFAULT_RULES)}
    assert found["resume"].message == "no checkpoint yet: starts at step 0" and found["write"].state == "go"
    assert names(str(tmp_path)) == [], "the probe is gone again"


def test_nothing_intact_stands_against_it(run_of: RunOf, real: str) -> None:
    run = run_of({100: "torn"})
    assert states(run)["resume"] == "no-go"
    make_run(real, run, {200: "intact"})
    assert states(run)["resume"] == "go"


@pytest.mark.mounts
def test_more_checkpoints_than_kept_stand_against_it_only_where_no_save_fits(
    run_of: RunOf, calm: str, fill: Fill
) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"}, at=f"{calm}/run")
    assert states(run)["checkpoints"] == "warn"
    assert states(run, Rules(Range(3, 3)))["checkpoints"] == "go"
    fill(calm)
    assert states(run)["checkpoints"] == "no-go"


@pytest.mark.mounts
def test_a_damaged_one_that_prune_would_delete_stands_against_it(run_of: RunOf, calm: str) -> None:
    assert states(run_of({100: "intact", 200: "torn"}, at=f"{calm}/run"))["checkpoints"] == "no-go"


@pytest.mark.mounts
def test_a_next_save_that_fits_only_if_an_older_one_goes_is_told(real: str, mount: Mount) -> None:
    """A Trainer alone writes it before it deletes one, and dies."""
    point = mount("tmpfs", "size=4m")
    run = make_run(real, os.path.join(point, "run"), dict.fromkeys((100, 200, 300, 400), "intact"))
    rules, save = Rules(Range(2, 2)), next_save_bytes(max(c.allocated_bytes for c in scan(run).checkpoints))
    assert states(run, rules)["headroom"] == "go"
    status = os.statvfs(point)
    with open(f"{point}/ballast", "wb") as file:
        file.write(b"\1" * (status.f_bavail * status.f_frsize - save + 50_000))
    assert states(run, rules)["headroom"] == "warn"


@pytest.mark.mounts
def test_a_volume_above_90_percent_and_one_without_headroom_stand_against_it(real: str, mount: Mount) -> None:
    point = mount("tmpfs", "size=2m")
    run = make_run(real, os.path.join(point, "run"), TWO)
    assert states(run)["volume"] == "go" and states(run)["headroom"] == "go"
    assert states(run, Rules(Range(9, 9)))["headroom"] == "no-go", "nine of 128 KiB and their margin do not fit"
    Path(point, "other").write_bytes(b"x" * 1_650_000)
    assert states(run)["volume"] == "no-go" and states(run)["headroom"] == "no-go"
    Path(point, "other").unlink()
    assert states(run)["volume"] == "go" and states(run)["headroom"] == "go"


@pytest.mark.mounts
def test_a_file_that_cant_be_written_stands_against_it(real: str, mount: Mount, fill: Fill) -> None:
    point = mount("tmpfs", "size=2m,nr_inodes=400")
    run = make_run(real, os.path.join(point, "run"), TWO)
    assert states(run)["write"] == "go" and states(run)["inodes"] == "go"
    fill(point)
    assert states(run)["write"] == "no-go"
    for limit, fix in ((2, "diskreport"), (1, "prune")):  # no room is no matter of rights
        checks = {check.code: check for check in preflight(run, Rules(Range(limit, limit)))}
        assert checks["write"].command == calling.command(fix, run)
    Path(point, "ballast").unlink()
    assert states(run)["write"] == "go"
    subprocess.run(["mount", "-o", "remount,ro", point], check=True)
    assert states(run)["write"] == states(run)["read-only"] == "no-go"
    subprocess.run(["mount", "-o", "remount,rw", point], check=True)
    assert states(run)["write"] == "go" and "read-only" not in states(run)


@pytest.mark.mounts
def test_too_few_inodes_stand_against_it(real: str, mount: Mount) -> None:
    point = mount("tmpfs", "size=2m,nr_inodes=300")
    run = make_run(real, os.path.join(point, "run"), TWO)
    assert states(run)["inodes"] == "go"
    for number in range(100):
        Path(point, str(number)).touch()
    assert states(run)["inodes"] == "no-go"
    for number in range(100):
        Path(point, str(number)).unlink()
    assert states(run)["inodes"] == "go"


def test_a_second_training_on_the_run_stands_against_it(run_of: RunOf) -> None:
    run = run_of(TWO)
    holder = subprocess.Popen(["sleep", "60"], stdin=open(f"{run}/checkpoint-200/optimizer.pt"))  # noqa: SIM115
    try:
        found = {check.code: check for check in preflight(run, DEFAULT_RULES)}["second-training"]
        assert (
            found.state == "no-go" and f"sleep (pid {holder.pid})" in found.message and str(holder.pid) in found.command
        )
    finally:
        holder.kill()
        holder.wait()
    assert states(run)["second-training"] != "no-go"


# --- the training's own settings ------------------------------------------------------------------------------------


def config_of(run: str, rules: Rules = DEFAULT_RULES, **more: Any) -> Check:
    (found,) = [check for check in preflight(str(run), rules, **more) if check.code == "config"]
    return found


def test_the_last_trainings_own_limit_is_read_without_loading_it(run_of: RunOf) -> None:
    found = config_of(run_of(TWO))
    assert "save_total_limit None, save_steps 100 (of the last training)" in found.message
    assert found.state == "go", "all of its 100 steps are done"


@pytest.mark.parametrize("strategy", ["epoch", "no"])
def test_an_enumeration_of_the_last_training_is_read_too(run_of: RunOf, strategy: str) -> None:
    import torch
    from transformers import TrainingArguments

    run = run_of(TWO)
    args = TrainingArguments(run, save_strategy=strategy, save_total_limit=3, use_cpu=True)
    torch.save(args, f"{run}/checkpoint-200/training_args.bin")
    found = config_of(run)
    assert found.state == ("go" if strategy == "epoch" else "warn") and "save_total_limit 3" in found.message
    assert ("nothing is saved" in found.message) == (strategy == "no")


def test_last_training_whose_settings_are_no_numbers_says_nothing(run_of: RunOf) -> None:
    import torch
    from transformers import TrainingArguments

    run = run_of(TWO)
    args = TrainingArguments(run, use_cpu=True)
    args.save_steps = "many"
    torch.save(args, f"{run}/checkpoint-200/training_args.bin")
    assert "config" not in states(run) and states(run)["resume"] == "go"


def yaml(limit: str | int = "null", steps: float = 100, max_steps: int = 1000) -> str:
    return f"learning_rate: 1e-4\nsave_total_limit: {limit}\nsave-steps: {steps}\nmax_steps: {max_steps}\n"


# Two stand at step 200, and six more fit, each with the margin of a next save.
SETTINGS = {
    "limit_two": ("train.yaml", yaml(2), "go", "peaks at"),
    "limit_six_needs_seven": ("train.yaml", yaml(6), "go", "peaks at"),
    "limit_seven_needs_eight": ("train.yaml", yaml(7), "warn", "full at step 900 with the Trainer alone"),
    "limit_eight_is_too_much_for_the_guard": ("train.yml", yaml(8), "no-go", "full at step 900, even with the guard"),
    "no_limit": ("train.yaml", yaml(), "warn", "full at step 900 with the Trainer alone"),
    "no_limit_and_few_saves": ("train.yaml", yaml(max_steps=500), "go", "peaks at"),
    "no_limit_and_no_last_step": ("t.json", '{"save_steps": 100}', "warn", "full at step 900 with the Trainer alone"),
    "rare_saves": ("train.yaml", yaml(steps=500), "go", "peaks at"),
    "a_share_of_the_steps": ("train.yaml", yaml(steps=0.05), "warn", "full at step 550 with the Trainer alone"),
    "epochs": ("t.json", '{"save_strategy": "epoch", "save_total_limit": 9}', "no-go", "will be full, even with the"),
    "nothing_saved": ("train.yaml", "save_strategy: no\n", "warn", "nothing is saved"),
    "an_empty_file": ("train.yaml", "", "warn", "save_total_limit None, save_steps None (train.yaml)"),
}


@pytest.mark.mounts
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_next_training_are_judged_against_the_volume(
    real: str, mount: Mount, ckptkit: Ckptkit, tmp_path: Path, name: str
) -> None:
    file, content, state, words = SETTINGS[name]
    run = make_run(real, os.path.join(mount("tmpfs", "size=9m"), "run"), TWO)
    room = os.statvfs(run).f_bavail * 4096
    save = next_save_bytes(max(c.allocated_bytes for c in scan(run).checkpoints))
    Path(run, "..", "other").write_bytes(b"\1" * (room - 6 * save - save // 2))
    (tmp_path / file).write_text(content)
    called = ckptkit("preflight", run, "--config", tmp_path / file, "--keep-last", 8, "--json")
    (found,) = [check for check in called.json["checks"] if check["code"] == "config"]
    assert (found["state"], words in found["message"]) == (state, True), found
    assert called.code == (4 if called.json["go"] is False else 0) and (state != "no-go" or called.code == 4)


def test_before_the_first_save_only_the_limit_is_judged(tmp_path: Path, ckptkit: Ckptkit) -> None:
    for limit, state in (("null", "warn"), (2, "go")):
        (tmp_path / "train.yaml").write_text(yaml(limit))
        page = ckptkit("preflight", tmp_path / "new", "--config", tmp_path / "train.yaml")
        (line,) = [line for line in page.out.splitlines() if " config " in line]
        told = "nothing is ever deleted" if state == "warn" else "the size of a checkpoint is not known yet"
        assert line.split()[0] == state and told in line


@pytest.mark.mounts
def test_any_other_config_is_ours_and_holds_the_rules(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, calm: str
) -> None:
    run = run_of({100: "intact", 200: "intact", 300: "intact"}, at=f"{calm}/run")
    (tmp_path / "mine.toml").write_text("keep_last = 3\n")
    for words, state in (((), "warn"), (("--config", tmp_path / "mine.toml"), "go")):
        checks = ckptkit("preflight", run, "--json", *words).json["checks"]
        assert [check["state"] for check in checks if check["code"] == "checkpoints"] == [state]
    (tmp_path / "train.toml").write_text("save_steps = 3\n")
    assert ckptkit("preflight", run, "--config", tmp_path / "train.toml").code == 2


UNREADABLE = {
    "missing.yaml": None,
    "folder.json": "",
    "torn.yaml": "save_steps: [1,",
    "torn.json": "{",
    "list.yaml": "- save_steps",
    "word.yml": "much",
    "bytes.yaml": "\x00\x01",
    "steps.yaml": "save_steps: many",
    "yes.yaml": "save_total_limit: yes",
    "date.yaml": "max_steps: 2026-01-01",
    "deep.json": "[" * 100_000,
    "deep.yaml": "[" * 100_000,
    "python.yaml": "!!python/object/apply:os.system ['touch pwned']",
    "large.json": " " * (1 << 20) + "{}",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_settings_that_cant_be_read_are_one_line(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, name: str) -> None:
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    elif UNREADABLE[name] is not None:
        (tmp_path / name).write_text(present(UNREADABLE[name]))
    called = ckptkit("preflight", run_of(TWO), "--config", tmp_path / name)
    assert called.code == 2 and called.out == "" and called.err.count("\n") == 1 and name in called.err
    assert not (tmp_path / "pwned").exists()


@pytest.mark.mounts
def test_yaml_without_pyyaml_is_one_line_that_says_what_to_do(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, calm: str
) -> None:
    (tmp_path / "yaml.py").write_text("raise ImportError('a box without it')")
    (tmp_path / "train.yaml").write_text(yaml(2))
    (tmp_path / "train.json").write_text('{"save_total_limit": 2}')
    env = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}
    run = run_of(TWO, at=f"{calm}/run")
    called = ckptkit("preflight", run, "--config", tmp_path / "train.yaml", env=env)
    assert called.code == 2 and called.err.count("\n") == 1 and "pip install pyyaml, or give" in called.err
    assert ckptkit("preflight", run, "--config", tmp_path / "train.json", env=env).code == 0


@pytest.mark.mounts
def test_peak_is_told_as_df_counts_not_of_what_root_alone_may_use(real: str, mount: Mount) -> None:
    run = make_run(real, os.path.join(mount("ext4", megabytes=24, options=("-m", "40")), "run"), TWO)
    used, peak = (check.message for check in preflight(run) if check.code in ("volume", "config"))
    assert used.split(" is ")[1].split("%")[0] == peak.split(" peaks at ")[1].rstrip("%")


MISSPELT = {
    "save_stepz": "save_steps",
    "max-step": "max_steps",
    "load_best_model_at_ent": "load_best_model_at_end",
    "save_total_limits": "save_total_limit",
}
# Of axolotl, LLaMA-Factory, TRL, Unsloth: none of the Trainer's, and no typo.
OTHERS = ("num_epochs", "micro_batch_size", "sequence_len", "cutoff_len", "max_seq_length", "val_set_size", "optimizer",
          "saves_per_epoch", "lr_scheduler", "load_in_4bit", "lora_r", "finetuning_type", "packing")  # fmt: skip


def settings_named(called: Called) -> list[tuple[Any, Any, Any]]:
    return [(c["state"], c["message"], c["command"]) for c in called.json["checks"] if c["code"] == "setting"]


@pytest.mark.parametrize("key", MISSPELT)
@pytest.mark.parametrize("nested", [False, True])
def test_setting_that_nearly_is_the_trainers_is_in_the_way_until_it_is_spelt_right(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path, key: str, nested: bool
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(f"training_args:\n  {key}: 2\n" if nested else f"{key}: 2\n")
    called = ckptkit("preflight", run_of(TWO), "--config", file, "--json")
    ((state, message, fix),) = settings_named(called)
    bare = key.replace("-", "_")
    assert called.code == 4 and state == "no-go"
    assert message == f"unknown setting {bare} (train.yaml): did you mean {MISSPELT[key]}?"
    subprocess.run(fix, shell=True, check=True)
    assert f"{MISSPELT[key]}: 2\n" in file.read_text()
    assert settings_named(ckptkit("preflight", tmp_path / "run", "--config", file, "--json")) == []


def test_settings_of_other_programs_and_of_any_transformers_are_no_typo(
    run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path
) -> None:
    names = (*OTHERS, "evaluation_strategy", "eval_strategy", "save_safetensors", "use_cache")
    (tmp_path / "train.json").write_text(json.dumps(dict.fromkeys(names, 1)))
    called = ckptkit("preflight", run_of(TWO), "--config", tmp_path / "train.json", "--json")
    assert settings_named(called) == []


def test_what_is_itself_set_is_not_what_another_name_meant(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("save_stepz: 1\nsave_steps: 2\n")
    assert settings_named(ckptkit("preflight", run_of(TWO), "--config", tmp_path / "train.yaml", "--json")) == []


def test_every_field_of_the_installed_trainer_is_known_and_none_is_imported(tmp_path: Path) -> None:
    import dataclasses

    from transformers import TrainingArguments

    from ckptkit.formats import training_names

    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert fields <= {*training_names.KNOWN, *training_names._installed()}
    code = "import sys; from ckptkit.formats.training_names import misspelt; misspelt(['a']); "
    code += "print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "False\n"


# --- the best one ---------------------------------------------------------------------------------------------------


def test_best_checkpoint_that_is_gone_is_told_until_it_is_back(run_of: RunOf) -> None:
    run = run_of(TWO)
    state = Path(run, "checkpoint-200", "trainer_state.json")
    content = json.loads(state.read_text()) | {"best_model_checkpoint": f"{run}/checkpoint-100", "best_metric": 0.5}
    state.write_text(json.dumps(content))
    assert "best" not in states(run)
    os.rename(f"{run}/checkpoint-100", f"{run}/../away")
    (found,) = [check for check in preflight(run) if check.code == "best"]
    assert found.state == "warn" and "checkpoint-100, is gone" in found.message
    os.rename(f"{run}/../away", f"{run}/checkpoint-100")
    assert "best" not in states(run)


# --- who looks, and what keeps it -----------------------------------------------------------------------------------


def test_a_clock_behind_the_checkpoints_is_told(run_of: RunOf) -> None:
    run = run_of(TWO)
    assert states(run, now=1_000_000.0)["clock"] == "warn" and states(run)["clock"] == "go"


# In a box of its own: no process and no crontab of this one is seen there.
BOX = """
for place in /etc/cron.d /var/spool/cron /run; do mount -t tmpfs tmpfs $place; done
look() { "$PYTHON" -m ckptkit preflight "$RUN" | grep ' watch '; }
look
"$PYTHON" -m ckptkit monitor "$RUN" --every 1h --prom "$RUN/../watched" >/dev/null &
until [ -e "$RUN/../watched" ]; do sleep 0.1; done
look
kill $!; wait $!
look
cron -f &
echo '0 0 1 1 * root echo a line of somebody else' >/etc/cron.d/theirs
look
echo '0 0 1 1 * root /opt/ckptkit/bin/prune /runs/mine' >/etc/cron.d/ours
look
kill $!; wait $!
look
"""


@pytest.mark.mounts
def test_a_monitor_and_a_cron_that_sweeps_are_seen_and_their_absence_told(run_of: RunOf) -> None:
    command = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", BOX)
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHON": sys.executable, "RUN": run_of(TWO)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    nobody = "warn   watch            nobody sweeps or watches while you sleep"
    told = [re.sub(r"pid \d+", "pid N", line) for line in done.stdout.splitlines()]
    watched = ["go     watch            watched by a monitor (pid N)", "go     watch            watched by cron"]
    assert told == [nobody, watched[0], nobody, nobody, watched[1], nobody], done.stderr


# How a person starts it: each of them really starts the command given, in DIRECTORY, and keeps it.
KEEPERS = {
    "tmux": "tmux -S DIRECTORY/socket -f /dev/null new-session -d 'COMMAND'",
    "screen": "SCREENDIR=DIRECTORY/screens screen -d -m -S mine sh -c 'COMMAND'",
    "nohup": "nohup sh -c 'COMMAND' 2>/dev/null",
    "": "script -qec 'COMMAND' /dev/null </dev/null",  # a terminal alone
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_what_keeps_a_training_when_the_line_drops_is_told_from_inside_of_it(
    run_of: RunOf, tmp_path: Path, keeper: str
) -> None:
    run, said = run_of(TWO), tmp_path / "said"
    (tmp_path / "screens").mkdir(mode=0o700)
    command = f"{sys.executable} -m ckptkit preflight {run} --json >{said}.part; mv {said}.part {said}"
    typed = KEEPERS[keeper].replace("COMMAND", command).replace("DIRECTORY", str(tmp_path))
    environment = {name: value for name, value in os.environ.items() if name not in ("TMUX", "STY", "SSH_CONNECTION")}
    environment |= {"PYTHONPATH": str(CHECKOUT), "SHELL": "/bin/sh", "TERM": "xterm"}
    subprocess.run(typed, shell=True, check=True, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
    wait_for(said.exists)
    (found,) = [check for check in json.loads(said.read_text())["checks"] if check["code"] == "session"]
    words = f"runs on in {keeper} when the connection drops" if keeper else "dies with your connection: not in tmux"
    assert (found["state"], found["message"].split(",")[0]) == ("go" if keeper else "warn", words)
    assert found["command"] == ("" if keeper else "tmux new -A -s train")


def session_of(run: str, ckptkit: Ckptkit, **environment: Any) -> tuple[str, str, str] | None:
    blank = dict.fromkeys(("TMUX", "STY", "SSH_CONNECTION", "JPY_PARENT_PID", "INVOCATION_ID"), "")
    blank.pop("JPY_PARENT_PID")
    checks = ckptkit("preflight", run, "--json", env=blank | environment).json["checks"]
    return next(((c["state"], c["message"], c["command"]) for c in checks if c["code"] == "session"), None)


def test_what_starts_a_session_is_what_is_installed_here(run_of: RunOf, ckptkit: Ckptkit, tmp_path: Path) -> None:
    run, on_a_line = run_of(TWO), {"SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}
    for programs, command in ((("screen", "tmux"), "tmux new -A -s train"), (("screen",), "screen -S train"), ((), "")):
        place = tmp_path / ("-".join(programs) or "bare")
        place.mkdir()
        for program in programs:
            (place / program).symlink_to(f"/usr/bin/{program}")
        code = "import sys; from ckptkit.ops import preflight as surroundings; print(surroundings._starts_one())"
        told = subprocess.run([sys.executable, "-c", code], env={"PATH": str(place), "PYTHONPATH": str(CHECKOUT)},
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert told.stdout.strip() == command
    state, message, _ = present(session_of(run, ckptkit, **on_a_line, JPY_PARENT_PID="1"))
    assert state == "warn" and message.startswith("in a notebook: it ends when the kernel restarts")


def test_nobody_on_a_line_needs_no_session(run_of: RunOf, ckptkit: Ckptkit) -> None:
    environment = {"TMUX": "", "STY": "", "SSH_CONNECTION": ""}
    checks = ckptkit("preflight", run_of(TWO), "--json", env=environment).json["checks"]
    assert "session" not in [check["code"] for check in checks]


def test_without_the_probe_nothing_is_touched(run_of: RunOf) -> None:
    run = run_of(TWO)
    before = tree(run)
    assert "write" not in states(run, probe=False)
    assert tree(run) == before


@pytest.mark.parametrize("path", ["/", "/tmp"])
def test_a_system_directory_is_refused(ckptkit: Ckptkit, path: str) -> None:
    called = ckptkit("preflight", path)
    assert called.code == 2 and called.err.count("\n") == 1


@pytest.mark.mounts
def test_quiet_says_only_what_stands_against_it(run_of: RunOf, ckptkit: Ckptkit, calm: str) -> None:
    assert ckptkit("preflight", run_of(TWO, at=f"{calm}/run"), "-q").out == ""
    called = ckptkit("preflight", run_of({100: "torn"}, at=f"{calm}/torn"), "-q")
    assert called.code == 4 and called.out.startswith("no-go  resume")
