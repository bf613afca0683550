"""Where alerts go: real commands, a real HTTP server, a real file; and one that fails stops nothing."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ckptkit.errors import UsageError
from ckptkit.model.checkpoint import Severity
from ckptkit.model.disk import Volume
from ckptkit.model.events import Alert, RunSight, Sample, Sight, VolumeSight
from ckptkit.notify import prometheus
from ckptkit.notify.command import CommandSink
from ckptkit.notify.prometheus import Textfile
from ckptkit.notify.webhook import Ping, Webhook
from ckptkit.ops.monitor import Telling, Tick
from ckptkit.ops.monitor import sinks as ops_sinks
from ckptkit.render import json as documents
from tests.support.typed import Ckptkit, Fill, Mount, RunOf

NOW = 1_800_000_000.0
EVIL = "/v/$(touch pwned)`touch pwned`; touch pwned\n\"'\\{} \x1b[31m"
ALERT = Alert(NOW, EVIL, "used", 4, "red", f"{EVIL}: 95% used", "bin/diskreport /v")
DOCUMENT = documents.alert(ALERT)


def sight(mount: str = "/v", run: str = "/v/run") -> Sight:
    volume = Volume(mount, mount, "dev", "ext4", 1000, 300, 250, 100, 90, False)
    taken = Sample(NOW, mount, 1000, 700, 250, run, 900, 2, 400)
    seen = RunSight(taken, 100, 0, NOW - 60, 600.0, "intact", f"{run}/checkpoint-900")
    return Sight(NOW, (VolumeSight(volume),), (seen,))


def tick(*alerts: Alert) -> Tick:
    return Tick(sight(), alerts, (), 600.0, {}, {})


# --- --exec ---------------------------------------------------------------------------------------------------------


def test_command_gets_json_and_variables_and_no_shell_sees_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = "import os, sys; open('got', 'w').write(sys.stdin.read() + '\\0' + os.environ['CKPTKIT_ALERT_MESSAGE'])"
    CommandSink(f'{sys.executable} -c "{script}" $(touch pwned) ; touch pwned').alert(ALERT, DOCUMENT)
    document, message = Path("got").read_text().split("\0")
    assert json.loads(document) == DOCUMENT and message == ALERT.message
    assert json.loads(document)["state"] == "raised"
    assert os.listdir() == ["got"]


def test_command_whose_alert_names_what_is_no_text(tmp_path: Path) -> None:
    odd = ALERT._replace(subject=os.fsdecode(b"/\xff"))
    CommandSink(f"{sys.executable} -c 'import json, sys; json.load(sys.stdin)'").alert(odd, documents.alert(odd))


def test_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    script = tmp_path / "hang"
    script.write_text(f"#!/bin/bash\n(sleep 3; touch {mark}) &\nsleep 60\n")
    script.chmod(0o755)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="did not end within 0.5 s"):
        CommandSink(str(script), seconds=0.5).alert(ALERT, DOCUMENT)
    assert time.monotonic() - began < 3
    time.sleep(3.2)
    assert not mark.exists()


@pytest.mark.parametrize("text, fault", [("false", RuntimeError), ("/nowhere/program", FileNotFoundError)])
def test_command_that_fails_is_told(text: str, fault: Any) -> None:
    with pytest.raises(fault):
        CommandSink(text).alert(ALERT, DOCUMENT)


@pytest.mark.parametrize("text", ["cat >> /tmp/alerts", "jq . | mail me", "date; cat", "cat 2>&1", "a && b"])
def test_what_only_a_shell_understands_is_refused_with_what_to_type(text: str) -> None:
    with pytest.raises(UsageError, match="without a shell") as told:
        CommandSink(text)
    flag, typed = shlex.split(str(told.value).partition("type ")[2])
    assert flag == "--exec" and CommandSink(typed).words == ["sh", "-c", text]


# --- --webhook, --ping, --apprise -----------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.silent = 0.0
        self.got: list[tuple[str, str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook?secret=1"


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.got.append((self.command, self.path, body))
        time.sleep(self.server.silent)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_webhook_posts_the_document(server: Server) -> None:
    Webhook(server.url).alert(ALERT, DOCUMENT)
    ((method, path, body),) = server.got
    assert (method, path, json.loads(body)) == ("POST", "/hook?secret=1", DOCUMENT)


def test_webhook_tries_again_three_times_in_all(server: Server) -> None:
    server.answers = [500, 503]
    rests: list[float] = []
    Webhook(server.url, rests.append).alert(ALERT, DOCUMENT)
    assert len(server.got) == 3 and rests == [1.0, 2.0]
    server.answers = [500] * 9
    with pytest.raises(OSError, match="500"):
        Webhook(server.url, rests.append).alert(ALERT, DOCUMENT)
    assert len(server.got) == 6


def test_host_that_is_silent_costs_a_bounded_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptkit.notify.webhook.ANSWER_SECONDS", 0.2)
    server.silent = 2.0
    began = time.monotonic()
    with pytest.raises(OSError):
        Webhook(server.url, lambda seconds: None).alert(ALERT, DOCUMENT)
    assert time.monotonic() - began < 2


def test_ping_says_fail_only_when_nothing_could_be_seen(server: Server) -> None:
    ping = Ping(f"http://127.0.0.1:{server.server_port}/uuid")
    ping.look(sight(), {})
    ping.look(Sight(NOW, errors=(("/v", "gone"),)), {})
    assert [(method, path) for method, path, _ in server.got] == [("GET", "/uuid"), ("GET", "/uuid/fail")]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "http://", "hooks.example.org/x", "http://[x"])
def test_addresses_that_are_none_are_refused(url: str) -> None:
    for sink in (Webhook, Ping):
        with pytest.raises(UsageError, match="must be an http"):
            sink(url)


def test_apprise_delivers_and_an_address_it_does_not_know_is_refused(server: Server) -> None:
    (chat,) = ops_sinks(apprise=[f"json://127.0.0.1:{server.server_port}/"])
    chat.alert(ALERT, DOCUMENT)
    ((method, _, body),) = server.got
    assert (
        method == "POST" and json.loads(body)["title"] == "ckptkit: used" and "95% used" in json.loads(body)["message"]
    )
    with pytest.raises(UsageError, match="begins with 'nonsense'"):
        ops_sinks(apprise=["nonsense://token"])


@pytest.mark.parametrize(
    ("rung", "level", "kind"),
    [(4, "red", "failure"), (2, "yellow", "warning"), (1, "green", "info"), (0, "green", "success")],
)
def test_a_chat_shows_by_its_kind_whether_something_is_wrong_noted_or_over(
    server: Server, rung: int, level: Severity, kind: str
) -> None:
    (chat,) = ops_sinks(apprise=[f"json://127.0.0.1:{server.server_port}/"])
    chat.alert(ALERT._replace(rung=rung, level=level), DOCUMENT)
    ((_, _, body),) = server.got
    assert json.loads(body)["type"] == kind


# --- --prom ---------------------------------------------------------------------------------------------------------

LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
LINE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")

UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def parse(text: str) -> dict[tuple[str | None, tuple[tuple[Any, str], ...]], float]:
    """The exposition format, strictly: {(name, labels): value}; HELP then TYPE before the rows of each family."""
    found, family, typed = {}, None, None
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family, typed = line.split(" ", 3)[2], None
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            assert typed == family and kind == "gauge"
        else:
            match = LINE.fullmatch(line)
            assert match and match.group(1) == family == typed, line
            labels = tuple(
                (key, re.sub(r'\\[\\"n]', lambda m: UNESCAPED[m.group()], value))
                for key, value in re.findall(LABEL, match.group(2) or "")
            )
            assert (family, labels) not in found
            found[family, labels] = float(line.rpartition(" ")[2])
    return found


def page(seen: Sight, rungs: dict[tuple[str, str], int]) -> str:
    return prometheus.page(seen, rungs).decode()


def test_prom_page_is_valid_and_tells_what_was_seen() -> None:
    rows = parse(page(sight(), {("/v", "used"): 2}))
    assert rows["ckptkit_volume_size_bytes", (("mount", "/v"),)] == 1000
    assert rows["ckptkit_run_saves_that_fit", (("run", "/v/run"),)] == 2.5
    assert rows["ckptkit_alert_rung", (("code", "used"), ("subject", "/v"))] == 2
    assert rows["ckptkit_last_look_timestamp_seconds", ()] == NOW


@pytest.mark.parametrize("name", ['/a "b" \\ c\nd', "/ü€", os.fsdecode(b"/\xff"), EVIL])
def test_prom_labels_are_escaped(name: str) -> None:
    rows = parse(page(sight(run=name), {(name, "used"): 1}))
    told = {dict(labels)["run"] for _, labels in rows if labels and labels[0][0] == "run"}
    assert told == {name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\x1b", "\\x1b")}


def test_prom_page_without_a_run_or_a_volume_is_valid() -> None:
    assert parse(page(Sight(NOW), {})) == {("ckptkit_last_look_timestamp_seconds", ()): NOW}


def test_prom_file_is_replaced_whole_and_readable_by_all(tmp_path: Path) -> None:
    path, old = tmp_path / "ckptkit.prom", os.umask(0o077)
    try:
        Textfile(str(path)).look(sight(), {})
    finally:
        os.umask(old)
    first = path.stat()
    assert stat.S_IMODE(first.st_mode) == 0o644 and parse(path.read_text())
    Textfile(str(path)).look(sight("/other"), {})
    assert path.stat().st_ino != first.st_ino and os.listdir(tmp_path) == ["ckptkit.prom"]


def test_prom_page_keeps_every_name_help_and_digit() -> None:
    text = page(sight(), {("/v", "used"): 2, ("/v/run", "damaged"): 0})
    told = re.findall("# HELP ckptkit_(\\S+) ", text)
    assert told == [
        "last_look_timestamp_seconds", "volume_size_bytes", "volume_available_bytes", "volume_used_ratio",
        "volume_inodes_used_ratio", "run_checkpoints", "run_checkpoint_bytes", "run_step",
        "run_last_save_timestamp_seconds", "run_saves_that_fit", "run_newest_intact", "alert_rung",
    ]  # fmt: skip
    size = 123_456_789_012_345
    large = sight()._replace(volumes=(VolumeSight(sight().volumes[0].volume._replace(total_bytes=size)),))
    assert parse(page(large, {}))["ckptkit_volume_size_bytes", (("mount", "/v"),)] == size


def test_prom_page_writes_no_file_where_processes_share_their_metrics(tmp_path: Path) -> None:
    """vLLM sets that variable, and a Gauge of the library's would write there."""
    shared = tmp_path / "shared"
    shared.mkdir()
    script = (
        "from ckptkit.notify import prometheus as p; from ckptkit.model.events import Sight; p.page(Sight(1.0), {})"
    )
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert os.listdir(shared) == []


def test_prom_without_its_library_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match="extra `prometheus`.*; fix: .*pip install.* prometheus-client$") as told:
        ops_sinks(prom="x.prom")
    assert "\n" not in str(told.value) and told.value.exit_code == 2


@pytest.mark.mounts
def test_prom_file_on_a_full_disk_stays_the_one_before(mount: Mount, fill: Fill) -> None:
    volume = mount("tmpfs", "size=1m")
    sink = Textfile(f"{volume}/ckptkit.prom")
    sink.look(sight(), {})
    before = Path(volume, "ckptkit.prom").read_text()
    fill(volume)
    with pytest.raises(OSError, match="No space left"):
        sink.look(sight("/other"), {})
    assert Path(volume, "ckptkit.prom").read_text() == before
    assert sorted(os.listdir(volume)) == ["ballast", "ckptkit.prom"]


# --- all of them ----------------------------------------------------------------------------------------------------


def test_sink_that_fails_is_told_once_and_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    said, file = list[str](), tmp_path / "p.prom"
    telling = Telling(ops_sinks(command="false", prom=str(file)), said.append)
    assert [telling.tell(tick(ALERT)) for _ in range(3)] == [False] * 3
    assert len(said) == 1 and said[0].startswith("--exec false: exit code 1") and file.exists()


def test_sink_that_worked_meanwhile_is_told_of_again(tmp_path: Path) -> None:
    said, script = list[str](), tmp_path / "script"
    telling = Telling(ops_sinks(command=f"/bin/sh {script}"), said.append)
    for code in (1, 1, 0, 1):
        script.write_text(f"exit {code}")
        telling.tell(tick(ALERT))
    assert len(said) == 2


def test_no_secret_of_an_address_is_told(server: Server) -> None:
    said: list[str] = []
    url = f"http://user:hunter2@127.0.0.1:{server.server_port}/T0/B0/hunter2?token=hunter2"
    server.answers = [500] * 9
    sinks = ops_sinks(ping=url)
    Telling(sinks, said.append).tell(tick(ALERT))
    assert len(said) == 1 and "127.0.0.1" in said[0] and "hunter2" not in said[0]


def test_as_typed_all_sinks_get_it_and_one_that_fails_exits_3(
    run_of: RunOf, ckptkit: Ckptkit, server: Server, tmp_path: Path
) -> None:
    run = run_of({100: "torn"})
    hook = ("--webhook", server.url, "--ping", f"http://127.0.0.1:{server.server_port}/ping")
    prom = ("--prom", tmp_path / "ckptkit.prom", "--exec", f'{sys.executable} -c \'open("ran", "a").write("x")\'')
    called = ckptkit("monitor", "--once", "-q", run, *hook, *prom)
    assert called.code == 0 and called.err.count("\n") == len([1 for m, *_ in server.got if m == "POST"])
    assert ("GET", "/ping", b"") in server.got and parse((tmp_path / "ckptkit.prom").read_text())
    assert (tmp_path / "ran").read_text() == "x" * called.err.count("\n")
    called = ckptkit("monitor", "--once", "-q", run, "--prom", "/proc/nowhere/x.prom")
    assert called.code == 3 and called.err.count("\n") == 1 and "tried again each time" in called.err
