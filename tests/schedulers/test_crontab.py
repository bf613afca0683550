"""crontab.example under the real cron daemon: each line does its work, in silence, and mails failures."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import make_run, names
from tests.support.typed import RunOf, present

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE = (CHECKOUT / "crontab.example").read_text()
LINES = [line for line in EXAMPLE.splitlines() if re.match(r"[*0-9]", line)]
# cron looks once a minute, and its first look may be a minute away; a sweep leaves alone what the verify of the same
# second has open, and the next one takes it.
LONGEST_SECONDS = 310

# In a mount namespace of its own, so that the machine's cron, crontabs and mail stay what they are.
SCENE = """
set -e
mount -t tmpfs tmpfs /var/spool/cron; mkdir -m 1730 /var/spool/cron/crontabs
mount -t tmpfs tmpfs /etc/cron.d
mount -t tmpfs tmpfs /run
install -m 600 "$1/crontab" /var/spool/cron/crontabs/root
mkdir "$1/upper" "$1/work" "$1/sbin"
mount -t tmpfs tmpfs "$1/sbin"; mkdir "$1/sbin/upper" "$1/sbin/work"
install -m 755 "$1/sendmail" "$1/sbin/upper/sendmail"
mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$1/sbin/upper,workdir=$1/sbin/work" overlay /usr/sbin
exec cron -f
"""


def every_minute(text: str, values: dict[str, object]) -> str:
    """The example with its times made `* * * * *` and its values ours; each must be there to be replaced."""
    for name, value in values.items():
        text, count = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
        assert count == 1, name
    return re.sub(r"(?m)^(\S+ ){5}(?=timeout)", "* * * * * ", text)


def test_every_line_is_explained_and_has_its_safeguards() -> None:
    assert len(LINES) == 3
    for line in LINES:
        assert "timeout " in line and "nice -n" in line and "--quiet" in line and "--log-to" in line
    for name in ("SHELL", "PATH", "MAILTO", "CKPTKIT", "RUNS", "LOGS"):
        assert re.search(rf"(?m)^# .*\n(?:.*\n)*?{name}=", EXAMPLE)
    assert all(len(line) < 1000 for line in EXAMPLE.splitlines())  # cron cuts longer ones


# Real crontab(1) on a spool of its own, in a box where no monitor is seen. What preflight advises is typed as it is.
OWN = "# mine\nMAILTO=me\n5 3 * * * /usr/local/bin/backup --all\n@reboot echo up\n"
APPENDING = """
set -e
mount -t tmpfs tmpfs /var/spool/cron; mkdir -m 1730 /var/spool/cron/crontabs
mount -t tmpfs tmpfs /etc/cron.d
advice() { "$PYTHON" -m ckptkit preflight "$RUN" | sed -n 's/.*fix: \\(.*cron --install .*\\)/\\1/p'; }
for own in "$OWN" ""; do
  crontab -r 2>/dev/null || :
  if [ -n "$own" ]; then printf %s "$own" | crontab -; fi
  sh -c "$(advice)" >/dev/null
  crontab -l; echo ===
done
advice; echo ===
printf %s "$OWN" | crontab -; sh -c "$HAND"; crontab -l
"""


@pytest.mark.mounts
def test_a_persons_own_lines_survive_what_preflight_advises(run_of: RunOf) -> None:
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHON": sys.executable, "OWN": OWN}
    environment["RUN"] = run_of({100: "intact"})
    environment |= {"CKPTKIT_PYTHON": sys.executable, "HAND": BY_HAND.replace("/opt/ckptkit", str(CHECKOUT))}
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", APPENDING]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    above = os.path.dirname(environment["RUN"])
    own, ours, advice, by_hand = done.stdout.split("===\n")
    assert own.startswith(f"{OWN}# ckptkit: begin {above}\n") and own == OWN + ours
    assert advice == f"{CHECKOUT}/bin/cron --install {above}\n"
    assert by_hand == OWN + EXAMPLE and BY_HAND in EXAMPLE


BY_HAND = "(crontab -l 2>/dev/null; cat /opt/ckptkit/crontab.example) | crontab -"


def test_no_advice_replaces_a_persons_whole_crontab() -> None:
    texts = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("ckptkit/**/*.py")]
    for file in (*texts, CHECKOUT / "crontab.example"):
        assert not re.search(r"crontab [\w./$]*crontab\.example", file.read_text()), file


@pytest.mark.mounts
@pytest.mark.slow
def test_under_a_real_cron(real: str, tmp_path: Path, calm: str) -> None:
    good, bad = Path(calm, "good runs"), Path(calm, "bad")
    make_run(real, str(good / "run"), {100: "intact", 200: "intact", 300: "intact"})
    make_run(real, str(bad / "run"), {100: "torn"})
    sections = []
    for who, runs in (("good", good), ("bad", bad)):
        values = {"MAILTO": who, "CKPTKIT": CHECKOUT, "RUNS": f'"{runs}"', "LOGS": tmp_path / f"logs-{who}"}
        sections.append(every_minute(EXAMPLE, values))
    python = f"CKPTKIT_PYTHON={sys.executable}\nCKPTKIT_STATE={tmp_path}/state\n"
    (tmp_path / "crontab").write_text(python + "\n".join(sections))
    mails = tmp_path / "mails"
    mails.mkdir()
    (tmp_path / "sendmail").write_text(f'#!/bin/bash\ncat >>"{mails}/$$"\n')
    daemon = subprocess.Popen(["unshare", "-m", "bash", "-c", SCENE, "scene", str(tmp_path)], stderr=subprocess.PIPE)
    try:
        pruned, verified, monitored = (tmp_path / f"logs-good/{verb}.log" for verb in ("prune", "verify", "monitor"))
        done = {pruned: "deleted", verified: "intact", monitored: "% used"}
        wait_for(
            daemon,
            tmp_path,
            lambda: len(of_failures(mails)) >= 2 and all(says(log, word) for log, word in done.items()),
        )
    finally:
        daemon.terminate()
        daemon.wait()
    assert names(str(good / "run")) == ["checkpoint-200", "checkpoint-300"]
    assert "deleted 1 checkpoint" in pruned.read_text()
    # All lines start at the same second, so the verify may see the third one or not.
    assert re.search(r"([23]) of \1 checkpoints are intact", verified.read_text())
    told = of_failures(mails)
    assert all("To: bad" in mail for mail in told), f"success must be silent: {told}"
    assert any("no intact checkpoint" in mail for mail in told) and any("incomplete" in mail for mail in told)
    assert names(str(bad / "run")) == ["checkpoint-100"]


def wait_for(daemon: subprocess.Popen[bytes], folder: Path, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not condition():
        assert daemon.poll() is None, present(daemon.stderr).read().decode()
        assert time.monotonic() < deadline, f"cron did not run the lines in time: {what_was_said(folder)}"
        time.sleep(0.5)
    time.sleep(1)  # a success that was not silent would mail now


def what_was_said(folder: Path) -> dict[str, str]:
    return {str(file): file.read_text()[-600:] for where in ("logs-*/*", "mails/*") for file in folder.glob(where)}


def all_mails(folder: Path) -> list[str]:
    return [file.read_text() for file in folder.iterdir()]


def of_failures(folder: Path) -> list[str]:
    """The monitor may see the third of the good ones before it goes, which is one more than the policy keeps."""
    return [mail for mail in all_mails(folder) if "bin/monitor" not in mail]


def says(log: Path, word: str) -> bool:
    return log.exists() and word in log.read_text()
