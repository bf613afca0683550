"""The page: whole in itself, safe from names, readable on a telephone and a wall. test_notebook.py shows it in one."""

import os
import re
import shutil
import struct
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ckptkit import ops
from ckptkit.advice import Flag
from ckptkit.box import Cache, Eater, Eaters, OpenDeleted, Trail, Training
from ckptkit.events import Outlook, Sample
from ckptkit.report import board, html, plain
from tests.support.runs import make_run

CHECKOUT = Path(__file__).resolve().parent.parent
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--enable-logging=stderr")  # fmt: skip
HOSTILE = "/<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\n\x1b[31m\u202e\udcff&amp;"
GB = 1 << 30


@pytest.fixture
def found(real, tmp_path):
    """A report with something in every section, on a real run, each name as hostile as names get."""
    run = make_run(real, str(tmp_path / "run"), {s * 100: "torn" if s == 3 else "intact" for s in range(1, 9)})
    now = time.time()
    report = ops.report([run], now=now)
    mount, total = HOSTILE, report.volumes[0].total_bytes
    other = [Sample(now - (48 - h) * 3600, f"{mount}2", total, int(total * h / 60), total) for h in range(48)]
    samples = [sample._replace(mount=mount, run=HOSTILE) for sample in other]
    eaten = tuple(Eater(f"{HOSTILE}/{n}", (9 - n) * GB) for n in range(9))
    return report._replace(
        volumes=(*report.volumes, report.volumes[0]._replace(mount=HOSTILE, device=HOSTILE, filesystem=HOSTILE)),
        flags=(*report.flags, Flag("red", "x", HOSTILE, HOSTILE)),
        errors=((HOSTILE, HOSTILE),),
        eaters=(Eaters(HOSTILE, 99 * GB, eaten, eaten, 3, HOSTILE, True),),
        caches=(Cache("hf-hub", HOSTILE, mount, 4 * GB, f"rm -rf -- {HOSTILE}", HOSTILE),),
        open_deleted=(OpenDeleted(HOSTILE, mount, 7, HOSTILE, 2 * GB, "kill 7"),),
        processes=(Training(8, HOSTILE, HOSTILE, now, HOSTILE, True, "tmux", "$0", False, HOSTILE, now),),
        trails=(Trail(tuple(samples), Outlook(now + 7200, 900, total, 900)), Trail(tuple(other))),
    )


class Seen(HTMLParser):
    """Every tag, with how it was opened."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "circle", "polyline", "polygon", "i"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag != "i":
            assert self.open.pop() == tag


def test_page_needs_nothing_else_and_no_name_becomes_markup(found):
    page = html.page(found)
    seen = Seen(page)
    assert seen.open == [], "each tag is closed"
    assert not {tag for tag, _ in seen.tags} & {"script", "img", "link", "iframe", "object", "a", "base", "form"}
    assert not [a for _, attrs in seen.tags for a in attrs if a.startswith("on") or a in ("src", "href")]
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")
    assert "&lt;script&gt;alert(1)" in page and not re.search("[\x00-\x09\x0b-\x1f\u202e\udc80-\udcff]", page)
    page.encode("utf-8")


def test_page_has_flags_first_then_every_section(found):
    page = html.page(found)
    parts = ['class="flag red"', ">Volumes<", ">Use over time<", ">Checkpoints<", "<svg", "What eats",
             ">Caches and debris<", ">Deleted, but still open<", ">Training<"]  # fmt: skip
    places = [page.index(part, page.index(">Checkpoints<") if part == "<svg" else 0) for part in parts]
    assert places == sorted(places)
    for checkpoint in found.plans[0].decisions:
        assert checkpoint.checkpoint.name in page and checkpoint.reasons[0] in page


def test_empty_report_is_a_page_too(tmp_path):
    assert ">Volumes<" in html.page(ops.report([str(tmp_path)]))


def test_pages_for_terminals_carry_no_control_code_of_a_name(found):
    for page in (plain.board(found), board.board(found, False, 100)):
        assert not set(page) & {"\x1b", "\u202e", "\udcff"} and "caches and debris" in page


# --- in a browser ---------------------------------------------------------------------------------------------------


def browser(tmp_path, *flags):
    """Run Chromium with a profile of its own."""
    profile = tmp_path / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = [*CHROMIUM, f"--user-data-dir={profile}", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path)


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_in_chromium_has_no_console_error_and_fits_its_width(found, tmp_path, width, scheme):
    (tmp_path / "page.html").write_text(html.page(found))
    wanted = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    shot = f"--screenshot={tmp_path}/shot.png"
    done = browser(tmp_path, wanted, shot, f"--window-size={width},900", f"file://{tmp_path}/page.html")
    assert "CONSOLE" not in done.stderr
    picture = (tmp_path / "shot.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (width, 900) and len(picture) > 20_000
    # A frame of that width around it says how wide the page wants to be: CSP lets the page itself run nothing.
    (tmp_path / "frame.html").write_text(f"""<iframe id=f style="width:{width}px;border:0" src=page.html></iframe>
        <script>f.onload = () => document.title = "wide " + f.contentDocument.documentElement.scrollWidth +
        " " + getComputedStyle(f.contentDocument.querySelector(".ckptkit")).backgroundColor</script>""")
    frame = ("--allow-file-access-from-files", "--window-size=1600,900", "--virtual-time-budget=5000", "--dump-dom")
    dom = browser(tmp_path, wanted, *frame, f"file://{tmp_path}/frame.html").stdout
    wide, colour = re.search(r"<title>wide (\d+) (.*)</title>", dom).groups()
    assert int(wide) == width
    assert colour == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(13, 17, 23)")


def test_a_script_that_got_through_would_be_stopped_and_seen(found, tmp_path):
    """The control of the test above: Chromium does tell errors, and the page's policy does forbid scripts."""
    page = html.page(found).replace("<h1>", "<script>document.title = 'ran'</script><h1>")
    (tmp_path / "page.html").write_text(page)
    done = browser(tmp_path, "--dump-dom", f"file://{tmp_path}/page.html")
    assert "CONSOLE" in done.stderr and "<title>ran" not in done.stdout


# --- the file -------------------------------------------------------------------------------------------------------


def test_html_writes_the_page_beside_the_board(run_of, ckptkit, tmp_path):
    run = run_of({100: "intact"})
    called = ckptkit("diskreport", run, "--no-eaters", "--html", tmp_path / "out.html")
    assert called.code == 0 and f"wrote {tmp_path}/out.html" in called.out and "checkpoint-100" in called.out
    page = (tmp_path / "out.html").read_text()
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n") and "checkpoint-100" in page
    assert [p.name for p in tmp_path.glob("out*")] == ["out.html"]


@pytest.mark.mounts
def test_full_disk_is_one_line_and_the_page_from_before_stays(mount, run_of, ckptkit, fill):
    volume = mount("tmpfs", "size=1m")
    Path(volume, "out.html").write_text("before")
    fill(volume)
    called = ckptkit("diskreport", run_of({100: "intact"}), "--no-eaters", "--html", f"{volume}/out.html")
    assert called.code == 3 and called.err.count("\n") == 1 and "No space left on device" in called.err
    assert Path(volume, "out.html").read_text() == "before"
    assert sorted(os.listdir(volume)) == ["ballast", "out.html"]


def test_page_that_cant_be_placed_is_one_line(run_of, ckptkit, tmp_path):
    called = ckptkit("diskreport", run_of({100: "intact"}), "--no-eaters", "--html", tmp_path / "no" / "out.html")
    assert called.code == 3 and called.err.count("\n") == 1 and "No such file or directory" in called.err
