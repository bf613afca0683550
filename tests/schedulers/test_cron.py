"""ckptkit cron, with the real crontab, the real cron daemon and the real tmux, in a box of its own."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.cron_box import box
from tests.support.runs import CHECKOUT, make_run, names, tree

EIGHT = dict.fromkeys(range(100, 900, 100), "intact")
OWN = "# mine\nMAILTO=me\nSHELL=/bin/zsh\n5 3 * * * /usr/local/bin/backup --all \\%F\n\n@reboot echo up\n"
QUIRKS = ["a b", "50 % off", 'it\'s "q" $HOME `id`', "-y", "ünï"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def steps(run: str | Path) -> list[int]:
    return [int(name.split("-")[1]) for name in names(str(run)) if name.startswith("checkpoint-")]


# --- the crontab ------------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_a_persons_own_lines_stay_to_the_byte_and_twice_is_once(tmp_path: Path, root: Path) -> None:
    script = """
printf %s "$OWN" | crontab -
ckptkit cron --install "$ROOT" -q; crontab -l >"$BOX/once"
inode=$(stat -c %i /var/spool/cron/crontabs/root)
ckptkit cron --install "$ROOT" -q; crontab -l >"$BOX/twice"
[ "$inode" = "$(stat -c %i /var/spool/cron/crontabs/root)" ]  # not even written
ckptkit cron --remove -q; crontab -l >"$BOX/removed"
"""
    box(tmp_path, script, OWN=OWN, ROOT=root)
    once = (tmp_path / "once").read_text()
    assert once.startswith(OWN) and (tmp_path / "twice").read_text() == once
    assert (tmp_path / "removed").read_text() == OWN
    ours = once.removeprefix(OWN).splitlines()
    assert ours[0] == f"# ckptkit: begin {root}" and ours[-1] == f"# ckptkit: end {root}"
    assert not [line for line in ours if re.match(r"\w+\s*=", line)], "a variable would hold for lines below it"
    commands = [line for line in ours if not line.startswith("#")]
    assert [shlex.split(line)[:5] for line in commands] == [["*/10", *"****"]] * 2 + [["17", "4", *"***"]]
    for line in commands:
        assert "timeout " in line and "nice -n" in line and "--quiet" in line and "--log-to" in line
        assert f"{CHECKOUT}/bin/" in line and "/usr/bin/env -i " in line
    assert f"prune --recursive {root} --lock-timeout 60" in commands[0] and "monitor --once" in commands[1]
    assert "ionice -c 3" in commands[2] and "verify --level full" in commands[2]


@pytest.mark.mounts
def test_who_has_no_crontab_gets_one_and_has_none_afterwards(tmp_path: Path, root: Path) -> None:
    script = 'ckptkit cron --install "$ROOT" -q; crontab -l; ckptkit cron --remove "$ROOT" -q; crontab -l 2>&1 || :'
    out = box(tmp_path, script, ROOT=root).stdout
    assert out.startswith(f"# ckptkit: begin {root}\n") and out.endswith(
        f"# ckptkit: end {root}\nno crontab for root\n"
    )


@pytest.mark.mounts
def test_several_roots_stand_side_by_side(tmp_path: Path, root: Path) -> None:
    (root / "one").mkdir()
    (root / "two").mkdir()
    script = """
ckptkit cron --install "$ROOT/one" -q; ckptkit cron --install "$ROOT/two" -q
ckptkit cron --show --json; ckptkit cron --remove "$ROOT/one" -q; ckptkit cron --show --json
cd "$ROOT/two"; mkdir deeper; cd deeper; ckptkit cron --install --json -n
"""
    both, left, here = map(json.loads, box(tmp_path, script, ROOT=root).stdout.splitlines())
    assert [one["root"] for one in both["roots"]] == [f"{root}/one", f"{root}/two"]
    assert [one["root"] for one in left["roots"]] == [f"{root}/two"] and left["schema"] == "ckptkit.cron/1"
    assert here["root"] == f"{root}/two" and not here["changed"], "our lines name a directory above this one"


@pytest.mark.mounts
@pytest.mark.parametrize("name", QUIRKS)
def test_a_line_works_whatever_the_directory_is_called(real: str, tmp_path: Path, root: Path, name: str) -> None:
    run = make_run(real, f"{root}/{name}/run", {100: "intact", 200: "intact", 300: "intact"})
    box(
        tmp_path,
        'cd "$ROOT"; ckptkit cron --install "./$NAME" -q; now prune; now monitor; now verify',
        ROOT=root,
        NAME=name,
    )
    assert steps(run) == [200, 300]
    logs = {verb: (tmp_path / f"state/{verb}.log").read_text() for verb in ("prune", "monitor", "verify")}
    assert "deleted 1 checkpoint" in logs["prune"] and "% used" in logs["monitor"] and "2 of 2" in logs["verify"]


@pytest.mark.mounts
def test_settings_that_hold_now_hold_for_cron_too_and_nothing_else_of_the_environment(
    real: str, tmp_path: Path, root: Path
) -> None:
    run = make_run(real, f"{root}/run", dict.fromkeys((100, 200, 300, 400), "intact"))
    script = 'ckptkit cron --install "$ROOT" -q; export CKPTKIT_KEEP_LAST=1; now prune; crontab -l'
    out = box(tmp_path, script, ROOT=root, CKPTKIT_KEEP_LAST=3, SECRET_TOKEN="t0ken").stdout
    assert steps(run) == [200, 300, 400] and "CKPTKIT_KEEP_LAST=3" in out and "t0ken" not in out


@pytest.mark.mounts
def test_an_ordinary_user_has_a_crontab_of_their_own(real: str, tmp_path: Path, root: Path) -> None:
    run = make_run(real, f"{root}/run", {100: "intact", 200: "intact", 300: "intact"})
    script = """
chown -R nobody "$BOX"
user() { setpriv $NOBODY env HOME=/nonexistent "$@"; }
user "$PYTHON" -m ckptkit cron --install "$ROOT" -q
crontab -l || :; user crontab -l; user crontab -l | grep -c 'bin/prune'
user "$PYTHON" -m ckptkit cron --show
user "$PYTHON" -m ckptkit cron --remove -q; user crontab -l || :
"""
    done = box(tmp_path, script, ROOT=root)
    assert done.stderr.count("no crontab for root") == 1 and done.stderr.count("no crontab for nobody") == 1
    assert f"# ckptkit: begin {root}\n" in done.stdout and steps(run) == [100, 200, 300]
    assert "fix: sudo service cron start" in done.stderr


@pytest.mark.mounts
def test_logs_lie_on_another_volume_than_the_runs_where_one_is_at_hand(tmp_path: Path, root: Path, calm: str) -> None:
    script = """
ckptkit cron --install "$CALM" -n | grep ^logs
ckptkit cron --install "$ROOT" -n | grep ^logs
mount -t tmpfs tmpfs /var/log; ckptkit cron --install "$ROOT" -n | grep ^logs
"""
    (Path(calm) / "runs").mkdir()
    out = box(tmp_path, script, ROOT=root, CALM=f"{calm}/runs").stdout.splitlines()
    beside = " (on the volume of the runs, no other one is at hand)"
    assert out == [f"logs: {tmp_path}/state", f"logs: {tmp_path}/state{beside}", "logs: /var/log/ckptkit"]


# --- what may go wrong ------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_a_full_spool_is_told_and_the_old_crontab_is_intact(tmp_path: Path, root: Path) -> None:
    script = """
printf %s "$OWN" | crontab -
mount -o remount,size=1m /var/spool/cron; head -c 2m /dev/zero >/var/spool/cron/ballast 2>/dev/null || :
ckptkit cron --install "$ROOT" -y -q || echo "exit $?"
crontab -l
"""
    done = box(tmp_path, script, OWN=OWN, ROOT=root)
    assert done.stdout == f"exit 3\n{OWN}"
    assert "No space left on device" in done.stderr and "your crontab is as it was" in done.stderr
    assert not list((tmp_path / "state").glob("root-*")), "no yes for what is not there"


@pytest.mark.mounts
def test_who_may_not_have_a_crontab_is_told_and_nothing_is_taken_for_empty(tmp_path: Path, root: Path) -> None:
    script = """
mount -t tmpfs tmpfs /mnt; echo nobody >/mnt/deny; touch /etc/cron.deny; mount --bind /mnt/deny /etc/cron.deny
chmod 777 "$BOX"
setpriv $NOBODY "$PYTHON" -m ckptkit cron --install "$ROOT" || echo "exit $?"
"""
    there = os.path.exists("/etc/cron.deny")
    done = box(tmp_path, script, ROOT=root)
    if not there:
        os.unlink("/etc/cron.deny")
    assert done.stdout == "exit 3\n" and "can't be read" in done.stderr and "not allowed" in done.stderr


@pytest.mark.mounts
def test_half_of_a_block_is_told_and_stays(tmp_path: Path, root: Path) -> None:
    half = f"# ckptkit: begin {root}\n5 3 * * * theirs\n"
    script = """
printf %s "$HALF" | crontab -
for what in --install --remove --show; do ckptkit cron $what "$ROOT" || echo "exit $?"; done; crontab -l
"""
    done = box(tmp_path, script, HALF=half, ROOT=root)
    assert done.stdout == f"exit 2\nexit 2\nexit 2\n{half}" and done.stderr.count("fix: crontab -e") == 3


@pytest.mark.mounts
def test_a_box_without_cron_is_told_what_to_type(tmp_path: Path, root: Path) -> None:
    script = """
mkdir "$BOX/bin"; ln -s "$(command -v apt-get)" "$BOX/bin"
PATH=$BOX/bin ckptkit cron --install "$ROOT" || echo "exit $?"
"""
    done = box(tmp_path, script, ROOT=root)
    assert done.stdout == "exit 2\n" and done.stderr.count("\n") == 1
    assert done.stderr.endswith("cron is not installed on this box; fix: apt-get update && apt-get install -y cron\n")


@pytest.mark.mounts
def test_a_box_whose_cron_does_not_run_is_told_what_to_type_and_that_works(tmp_path: Path, root: Path) -> None:
    script = """
ckptkit cron --install "$ROOT" -q -y 2>"$BOX/said"; cat "$BOX/said"
eval "$(sed -n 's/.*fix: //p' "$BOX/said")" >/dev/null 2>&1
ckptkit cron --install "$ROOT" -q; ckptkit cron --show | tail -2; kill "$(cat /run/crond.pid)"
"""
    told, runs, _ = box(tmp_path, script, ROOT=root).stdout.splitlines()
    assert told == "cron: nothing runs it yet: no cron daemon runs on this box; fix: service cron start"
    assert re.fullmatch(r"run by cron \(pid \d+\)", runs)


@pytest.mark.mounts
@pytest.mark.parametrize(
    "words, code, told",
    [
        ([], 2, "--install, --show or --remove"),
        (["--install", "--show"], 2, "not allowed with"),
        (["--show", "--tmux"], 2, "goes with --install"),
        (["--install", "/"], 2, "name the directory above your runs"),
        (["--install", "/root"], 2, "name the directory above your runs"),
        (["--install", ""], 2, "is empty"),
        (["--install", "nowhere"], 10, "no such directory"),
        (["--install", "new\nline"], 2, "rename the directory"),
        (["--install", "back\\slash"], 2, "rename the directory"),
        (["--install", "x" * 200 + "/" + "y" * 200 + "/" + "z" * 200], 2, "too long"),
        (["--systemd", "."], 2, "no systemd runs on this box; fix: "),
        (["--show", "."], 10, "nothing of ours is put in; fix: "),
        (["--show"], 0, "nothing of ours is put in; fix: "),
        (["--remove"], 0, ""),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_changes_nothing(
    tmp_path: Path, root: Path, words: list[str], code: int, told: str
) -> None:
    for word in words:
        if word.startswith(("new", "back", "xxx")):
            (root / word).mkdir(parents=True)
    script = (
        f'cd "$ROOT"; ckptkit cron {shlex.join(words)} >/dev/null && code=0 || code=$?; echo $code; ! crontab -l 2>&-'
    )
    done = box(tmp_path, script, ROOT=root)
    assert done.stdout == f"{code}\n" and told in done.stderr and done.stderr.count("\n") <= 1


@pytest.mark.mounts
def test_a_dry_run_shows_the_lines_and_touches_nothing(real: str, tmp_path: Path, root: Path) -> None:
    make_run(real, f"{root}/run", EIGHT | {900: "torn"})
    before = tree(root)
    out = box(tmp_path, 'ckptkit cron --install "$ROOT" -n -y; ! crontab -l 2>&-', ROOT=root).stdout
    assert f"  # ckptkit: begin {root}\n" in out and out.count("  */10 * * * * ") == 2
    assert re.search(r"  run  6 of 8 intact checkpoints, 1 damaged, frees .*B; more than half: needs a yes\n", out)
    assert tree(root) == before and not (tmp_path / "state").exists()


# --- the yes ----------------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_before_the_yes_a_sweep_ends_at_25_and_tells_it_once_and_after_it_all_goes(
    real: str, tmp_path: Path, root: Path
) -> None:
    run = make_run(real, f"{root}/run", EIGHT)
    script = """
ckptkit cron --install "$ROOT" >/dev/null || echo "install $?"
for i in 1 2; do now prune || echo "sweep $?"; done
ckptkit cron --install "$ROOT" -y -q; echo "install $?"
now prune; echo "sweep $?"; now prune; echo "sweep $?"
"""
    done = box(tmp_path, script, ROOT=root)
    assert done.stdout.splitlines() == ["install 25", "sweep 25", "sweep 25", "install 0", "sweep 0", "sweep 0"]
    assert done.stderr.count("6 of 8 intact checkpoints wait for your yes") == 1
    assert f"without your yes; fix: {CHECKOUT}/bin/cron --install {root} -y\n" in done.stderr
    assert steps(run) == [700, 800]


@pytest.mark.mounts
def test_a_run_that_appears_later_is_swept_without_a_question_and_never_below_one_intact(
    real: str, tmp_path: Path, root: Path
) -> None:
    script = """
ckptkit cron --install "$ROOT" -y -q
cp -a "$LATER" "$ROOT/later"; mkdir "$ROOT/deep"; cp -a "$TORN" "$ROOT/deep/torn"
now prune || echo "sweep $?"
"""
    later = make_run(real, str(tmp_path / "made"), EIGHT)
    torn = make_run(real, str(tmp_path / "torn"), {100: "intact", 200: "torn", 300: "corrupt"})
    done = box(tmp_path, script, ROOT=root, LATER=later, TORN=torn, CKPTKIT_KEEP_LAST=1)
    assert done.stdout == "" and steps(root / "later") == [800] and steps(root / "deep/torn") == [100]


@pytest.mark.mounts
def test_the_yes_holds_for_these_rules_and_this_directory_alone(real: str, tmp_path: Path, root: Path) -> None:
    own = make_run(real, f"{root}/own", EIGHT)
    Path(own, "ckptkit.toml").write_text('keep_last = "1"\n')  # the yes for it is for no other run
    script = """
ckptkit cron --install "$ROOT" -y -q
mv "$STRICTER" "$ROOT/stricter"; echo 'keep_last = "1"' >"$ROOT/stricter/ckptkit.toml"
now prune 2>/dev/null || echo "stricter $?"
ckptkit prune "$BESIDE" -q 2>/dev/null || echo "beside $?"
rm -r "$ROOT/stricter"; ckptkit cron --remove "$ROOT" -q
mv "$AFTER" "$ROOT/after"; ckptkit prune "$ROOT/after" -q 2>/dev/null || echo "removed $?"
"""
    made: dict[str, Any] = {
        name.upper(): make_run(real, str(tmp_path / name), EIGHT) for name in ("stricter", "beside", "after")
    }
    done = box(tmp_path, script, ROOT=root, **made)
    assert done.stdout.splitlines() == ["stricter 25", "beside 25", "removed 25"]
    assert len(steps(root / "after")) == 8 and len(steps(own)) == 1


@pytest.mark.mounts
def test_a_person_is_asked_once_and_yes_is_remembered(real: str, tmp_path: Path, root: Path) -> None:
    make_run(real, f"{root}/run", EIGHT)
    script = """
answered y cron --install "$ROOT"; echo ===; answered n cron --install "$ROOT"; echo ===; ckptkit cron --show | tail -1
"""
    first, again, shown = box(tmp_path, script, ROOT=root).stdout.split("===\n")
    assert (
        "Delete 6 of 8 intact checkpoints, and by the same rules as many in later runs" in first
        and "is remembered" in first
        and first.count("[y/N]") == 1
    )
    assert "[y/N]" not in again and f"{root}: this is in the crontab of root" in again
    assert shown == "may delete more than half of a run's intact checkpoints: yes\n"


@pytest.mark.mounts
def test_a_no_puts_the_lines_in_and_says_what_gives_the_yes(real: str, tmp_path: Path, root: Path) -> None:
    make_run(real, f"{root}/run", EIGHT)
    script = 'answered n cron --install "$ROOT" || echo "exit $?"; crontab -l | grep -c /bin/prune'
    done = box(tmp_path, script, ROOT=root)
    assert done.stdout.count("[y/N]") == 1 and done.stdout.endswith("exit 25\n1\n")
    assert not list((tmp_path / "state").glob("root-*"))
    assert re.search(r"without your yes; fix: .*cron --install \S+ -y\n", done.stdout)


@pytest.mark.mounts
def test_where_no_run_is_yet_a_person_is_asked_for_those_that_come(tmp_path: Path, root: Path) -> None:
    out = box(tmp_path, 'answered y cron --install "$ROOT"', ROOT=root).stdout
    assert "no run lies below it yet; rules of those that come: --keep-last 2" in out
    assert "May a sweep delete more than half of a run's intact checkpoints by these rules" in out


@pytest.mark.mounts
def test_a_limit_in_a_runs_own_settings_is_not_lifted_by_the_yes(real: str, tmp_path: Path, root: Path) -> None:
    run = make_run(real, f"{root}/run", EIGHT)
    Path(run, "ckptkit.toml").write_text("max_delete = 3\n")
    script = 'ckptkit cron --install "$ROOT" -y -q || echo "exit $?"; now prune 2>/dev/null || echo "sweep $?"'
    done = box(tmp_path, script, ROOT=root)
    assert done.stdout == "exit 25\nsweep 25\n" and "max_delete = 3" in done.stderr and len(steps(run)) == 8


@pytest.mark.mounts
def test_a_yes_that_cant_be_remembered_is_told(tmp_path: Path, root: Path) -> None:
    script = 'ckptkit cron --install "$ROOT" -y -q || echo "exit $?"'
    done = box(tmp_path, script, ROOT=root, CKPTKIT_STATE="/proc/nowhere")
    assert done.stdout == "exit 3\n" and "could not be remembered" in done.stderr


# --- cron itself ------------------------------------------------------------------------------------------------------


@pytest.mark.mounts
@pytest.mark.slow
def test_the_real_cron_runs_our_lines_in_whatever_shell_a_person_set(real: str, tmp_path: Path, root: Path) -> None:
    run = make_run(real, f'{root}/it\'s 50 % "off"/run', EIGHT)
    script = """
printf 'SHELL=/usr/bin/false\\nPATH=/nowhere\\nCKPTKIT_KEEP_LAST=7\\n' | crontab -
ckptkit cron --install "$ROOT" -y -q 2>&-
crontab -l | sed 's#^\\*/10#*#; s#^SHELL=.*#SHELL=/bin/bash#' | crontab -
cron; deadline=$((SECONDS + 310))  # a sweep leaves what the verify of that second has open to the next one
until [ "$(cd "$RUN"; echo *)" = "checkpoint-700 checkpoint-800" ] && grep -q used "$BOX/state/monitor.log"; do
  [ $SECONDS -lt $deadline ]; sleep 0.5
done
ckptkit cron --show "$ROOT"
"""
    out = box(tmp_path, script, ROOT=root, RUN=run).stdout
    assert steps(run) == [700, 800]
    assert re.search(r"run by cron \(pid \d+\)\n", out)
    assert "prune: its log was last written to " in out and "monitor: its log was last written to " in out


# --- tmux -------------------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_tmux_prunes_and_watches_is_replaced_and_removed(real: str, tmp_path: Path, root: Path) -> None:
    run = make_run(real, f"{root}/it's 50 % #off/run", EIGHT)
    script = """
export TMUX_TMPDIR=$BOX
ckptkit cron --tmux "$ROOT" -y -q
for i in $(seq 300); do grep -qs "deleted 6" "$BOX/state/prune.log" && break; sleep 0.1; done
for i in $(seq 300); do tmux capture-pane -pt ckptkit:monitor | grep -q available && break; sleep 0.1; done
tmux capture-pane -pt ckptkit:monitor >"$BOX/page"
ckptkit preflight "$RUN" | grep ' watch ' || :
before=$(tmux list-windows -a -F '#{window_id}'); ckptkit cron --tmux "$ROOT" -q
[ "$before" = "$(tmux list-windows -a -F '#{window_id}')" ]; echo "unchanged"
CKPTKIT_KEEP_LAST=3 ckptkit cron --tmux "$ROOT" -q
tmux list-windows -a -F '#{session_name} #{window_name}'
ckptkit cron --show | grep '^run by'
tmux new-window -d -t ckptkit: -n mine
ckptkit cron --remove; tmux list-windows -a -F '#{window_name}'; tmux kill-server
"""
    out = box(tmp_path, script, ROOT=root, RUN=run).stdout.splitlines()
    assert steps(run) == [700, 800] and "available" in (tmp_path / "page").read_text()
    assert out[:4] == [
        "go     watch            watched by the tmux session ckptkit",
        "unchanged",
        "ckptkit monitor",
        "ckptkit prune",
    ]
    assert out[4] == "run by the tmux session ckptkit" and out[-1] == "mine"


# --- systemd ----------------------------------------------------------------------------------------------------------


@pytest.mark.mounts
def test_systemd_units_are_what_systemd_reads(tmp_path: Path, root: Path) -> None:
    (odd := root / 'it\'s 50 % "off" $x').mkdir()
    script = """
mkdir -p /run/systemd/system "$BOX/units"; mount -t tmpfs tmpfs /etc/systemd/system
"$PYTHON" -c '
import os, sys
from ckptkit.ops import cron
from ckptkit.schedulers import systemd
made = cron.schedule(sys.argv[1], "systemd")
for name, text in systemd.units(made.root, made.jobs).items():
    open(f"/etc/systemd/system/{name}", "w").write(text)
' "$ODD"
systemd-analyze verify /etc/systemd/system/ckptkit-*
cp /etc/systemd/system/ckptkit-* "$BOX/units"
"""
    done = box(tmp_path, script, ODD=odd)
    assert (done.stdout, done.stderr) == ("", "")
    units = {file.name: file.read_text() for file in (tmp_path / "units").iterdir()}
    assert len(units) == 6
    service = next(text for name, text in units.items() if name.startswith("ckptkit-prune") and "ExecStart" in text)
    assert f'"{odd}"'.replace("%", "%%").replace('"off"', '\\"off\\"').replace("$", "$$") in service


@pytest.mark.mounts
def test_a_systemd_that_does_not_answer_is_told_and_no_unit_is_left(tmp_path: Path, root: Path) -> None:
    script = """
mkdir -p /run/systemd/system; mount -t tmpfs tmpfs /etc/systemd/system
ckptkit cron --systemd "$ROOT" -q -y || echo "exit $?"
ls -A /etc/systemd/system
"""
    done = box(tmp_path, script, ROOT=root)
    assert done.stdout == "exit 3\n" and done.stderr.startswith("cron: systemctl daemon-reload: ")


USER_MANAGER = """
mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd || exit 77
own=/sys/fs/cgroup/systemd/ckptkit-test-$RANDOM; mkdir "$own"; chown -R nobody "$own"; echo $$ >"$own/cgroup.procs"
cleanup() { kill "$manager"; wait "$manager" || :; echo $$ >/sys/fs/cgroup/systemd/cgroup.procs
  for i in $(seq 50); do
    find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || :
    [ -e "$own" ] || break
    sleep 0.1
  done
}
mkdir -p /run/systemd/system /run/user/1/systemd/user/ckptkit-.service.d "$BOX/home"
# The Python may lie in a closed home.
printf '[Service]\nAmbientCapabilities=CAP_DAC_READ_SEARCH\n' >/run/user/1/systemd/user/ckptkit-.service.d/caps.conf
chown -R nobody /run/user "$BOX"
user() { setpriv $NOBODY env HOME="$BOX/home" XDG_RUNTIME_DIR=/run/user/1 "$@"; }
user /lib/systemd/systemd --user >/dev/null 2>&1 &
manager=$!; trap cleanup EXIT
for i in $(seq 100); do user systemctl --user is-system-running >/dev/null 2>&1 && break; sleep 0.1; done
user systemctl --user is-system-running >/dev/null || exit 77
"""


@pytest.mark.mounts
def test_a_real_systemd_of_a_user_waits_for_the_times_and_its_service_prunes(
    real: str, tmp_path: Path, root: Path
) -> None:
    run = make_run(real, f'{root}/it\'s 50 % "off" $x/run', EIGHT)
    script = """
ours="$PYTHON -m ckptkit cron"
user $ours --systemd "$ROOT" -y -q
user systemctl --user list-timers --all --plain | grep -o 'ckptkit-[a-z]*' | sort -u
user $ours --systemd "$ROOT" | tail -1
user systemctl --user start "$(cd "$BOX/home/.config/systemd/user"; ls ckptkit-prune-*.service)"
user "$PYTHON" -m ckptkit preflight "$RUN" | grep ' watch '
user $ours --show | grep -a '^run by\\|^may\\|^prune'
user $ours --remove -q; ls -A "$BOX/home/.config/systemd/user" | grep ckptkit || echo "no unit"
"""
    done = box(tmp_path, USER_MANAGER + script, check=False, ROOT=root, RUN=run)
    if done.returncode == 77:
        pytest.skip("no systemd of a user can run in this box")
    out = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert out[:3] == ["ckptkit-monitor", "ckptkit-prune", "ckptkit-verify"]
    assert "unchanged in " in out[3] and "loginctl enable-linger nobody" in done.stderr
    assert steps(run) == [700, 800]
    assert out[4] == "go     watch            watched by a systemd timer"
    assert (
        out[5] == "run by systemd" and out[6].startswith("prune: ") and out[7].endswith(": yes") and out[8] == "no unit"
    )
